package mattermosttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func TestUploadRaw(t *testing.T) {
	m := newNode(t, Config{MaxFileSize: 1000})
	for _, tt := range []struct{ size, status int }{{0, 201}, {1, 201}, {1000, 201}, {1001, 413}, {1000 + multipartOverhead + 1, 413}} {
		body := strings.Repeat("x", tt.size)
		resp := send(t, m, "POST /api/v4/files?filename=a.txt", body)
		check(t, strconv.Itoa(tt.size)+" bytes", resp.StatusCode, tt.status)
		if tt.status != 201 {
			continue
		}
		f := decodeBody[uploaded](t, resp).Files[0]
		check(t, "name", f.Name, "a.txt")
		check(t, "size", f.Size, int64(tt.size))
		check(t, "hash", f.SHA256, hashOf([]byte(body)))
	}
}

// TestUploadLimit sends headers only, of the largest upload and of one more.
func TestUploadLimit(t *testing.T) {
	m := newNode(t, Config{})
	check(t, "limit", m.cfg.MaxFileSize, 104_857_600)
	r := httptest.NewRequest(http.MethodPost, "/api/v4/files", http.NoBody)
	r.ContentLength = m.cfg.MaxFileSize + multipartOverhead + 1
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	check(t, "status", w.Code, http.StatusRequestEntityTooLarge)
}

func TestUploadForm(t *testing.T) {
	for _, tt := range []struct {
		name   string
		files  []string
		status int
	}{
		{"two files", []string{"one", "and two"}, 201},
		{"a file at the limit", []string{strings.Repeat("x", 1000)}, 201},
		{"a file above it", []string{"one", strings.Repeat("x", 1001)}, 413},
		{"too many", make([]string, maxFiles+1), 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body bytes.Buffer
			form := multipart.NewWriter(&body)
			_ = form.WriteField("channel_id", "x")
			for i, content := range tt.files {
				part, _ := form.CreateFormFile("files", strconv.Itoa(i))
				_, _ = io.WriteString(part, content)
			}
			form.Close()
			m := newNode(t, Config{MaxFileSize: 1000})
			resp := send(t, m, "POST /api/v4/files", body.String(), "Content-Type", form.FormDataContentType())
			check(t, "status", resp.StatusCode, tt.status)
			if tt.status != 201 {
				return
			}
			got := decodeBody[uploaded](t, resp).Files
			check(t, "files", len(got), len(tt.files))
			for i, f := range got {
				check(t, "name", f.Name, strconv.Itoa(i))
				check(t, "hash", f.SHA256, hashOf([]byte(tt.files[i])))
			}
		})
	}
}

func TestUploadOfABrokenForm(t *testing.T) {
	resp := send(t, newNode(t, Config{}), "POST /api/v4/files", "--x\r\nhalf", "Content-Type", "multipart/form-data; boundary=x")
	check(t, "status", resp.StatusCode, http.StatusBadRequest)
}

func TestDownload(t *testing.T) {
	m := newNode(t, Config{})
	resp := send(t, m, "GET /api/v4/files/abc?size=100000", "")
	got, _ := io.ReadAll(resp.Body)
	want, _ := io.ReadAll(FileBody("abc", 100_000))
	other, _ := io.ReadAll(FileBody("abd", 100_000))
	check(t, "length", resp.Header.Get("Content-Length"), "100000")
	check(t, "same", bytes.Equal(got, want), true)
	check(t, "size", len(got), 100_000)
	check(t, "another id", bytes.Equal(got, other), false)
	for _, query := range []string{"", "?size=-1", "?size=x", "?size=99999999999999"} {
		check(t, query, send(t, m, "GET /api/v4/files/abc"+query, "").StatusCode, 404)
	}
}
