package mattermosttest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"strconv"
)

// Bounds of files, in bytes, and of their number in one upload.
const (
	multipartOverhead = 1 << 20 // what a multipart body may have besides its files
	maxFiles          = 10
	maxDownload       = 10 << 30
)

// file is what an upload answers about each file of it.
type file struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // in hexadecimal
}

// uploaded is the answer to POST /api/v4/files.
type uploaded struct {
	Files []file `json:"file_infos"`
}

// FileBody is the size bytes that GET /api/v4/files/<id>?size=<size> answers:
// the same ones for the same id.
func FileBody(id string, size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(id))), size)
}

// download answers GET /api/v4/files/{id}, with FileBody.
func (m *Handler) download(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
	if err != nil || size < 0 || size > maxDownload {
		fail(w, refuse(http.StatusNotFound, "app.file_info.get.app_error"))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	_, _ = io.Copy(w, FileBody(r.PathValue("id"), size)) // the client may leave
}

// upload answers POST /api/v4/files: a multipart form whose files it takes, or
// one file as the body, named by the query.
func (m *Handler) upload(w http.ResponseWriter, r *http.Request) {
	files, err := m.receive(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusCreated, uploaded{Files: files})
}

func (m *Handler) receive(w http.ResponseWriter, r *http.Request) ([]file, error) {
	if r.ContentLength > m.cfg.MaxFileSize+multipartOverhead {
		return nil, tooLarge()
	}
	r.Body = http.MaxBytesReader(w, r.Body, m.cfg.MaxFileSize+multipartOverhead)
	form, err := r.MultipartReader()
	if errors.Is(err, http.ErrNotMultipart) {
		f, err := m.hash(r.URL.Query().Get("filename"), r.Body)
		return []file{f}, err
	}
	if err != nil {
		return nil, badUpload()
	}
	return m.receiveForm(form)
}

func (m *Handler) receiveForm(form *multipart.Reader) (files []file, err error) {
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			return files, nil
		}
		if err != nil || len(files) == maxFiles {
			return nil, badUpload()
		}
		if part.FileName() == "" {
			continue
		}
		f, err := m.hash(part.FileName(), part)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
}

// hash reads a file to its end, unless it is too large.
func (m *Handler) hash(name string, body io.Reader) (file, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(body, m.cfg.MaxFileSize+1))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over), n > m.cfg.MaxFileSize:
		return file{}, tooLarge()
	case err != nil:
		return file{}, badUpload()
	}
	return file{ID: newID(), Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

func tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "api.file.upload_file.too_large_detailed.app_error")
}

func badUpload() error {
	return refuse(http.StatusBadRequest, "api.file.upload_file.read_request.app_error")
}
