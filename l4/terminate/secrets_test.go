package terminate

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	secretOne   = "3q2+7w/fJk1lqUuW0pXcV9yYx3n8mZ0aBtHs5dRg2eI="
	secretTwo   = "0mJ9vQe4Lx/8sT+1bWcKzR6yUaDfGhN2pIoX7rEtY5k="
	secretThree = "wQ8zH4nLk2/sVb+T7cXyR1pDfG0mJ9eUaI5oK3rWt6E="
)

// secretsFile creates a file that only its owner can read.
func secretsFile(t testing.TB, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "preauth")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// labels returns the label of every secret, expired ones too, in the order of
// the file.
func labels(s *Secrets) []string {
	var all []string
	for i := range s.list {
		all = append(all, s.list[i].label)
	}
	return all
}

func mustLoadSecrets(t testing.TB, content string) *Secrets {
	t.Helper()
	s, err := LoadSecrets(secretsFile(t, content))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLoadSecrets(t *testing.T) {
	long := strings.Repeat("x", maxSecretBytes)
	tests := []struct {
		name, content string
		want          map[string]string // label -> secret
		labels        []string
	}{
		{"label", "current: " + secretOne, map[string]string{"current": secretOne}, []string{"current"}},
		{"bare", secretOne + "\n", map[string]string{"1": secretOne}, []string{"1"}},
		{
			"bare ones are counted, comments are not",
			"# one\n\n" + secretOne + "\nnew: " + secretTwo + "\n\n" + secretThree + "\n",
			map[string]string{"1": secretOne, "new": secretTwo, "3": secretThree},
			[]string{"1", "new", "3"},
		},
		{
			"blanks around it and line ends of DOS",
			"\r\n  # comment\r\n \ta \t: \t" + secretOne + " \t\r\n\t" + secretTwo + "\r\n",
			map[string]string{"a": secretOne, "2": secretTwo},
			[]string{"a", "2"},
		},
		{"blanks within it", "a: " + "correct horse battery staple, correct", map[string]string{"a": "correct horse battery staple, correct"}, []string{"a"}},
		{"colons after the label", "a: b: c:" + secretOne, map[string]string{"a": "b: c:" + secretOne}, []string{"a"}},
		{"number sign after the label", "a: #" + secretOne, map[string]string{"a": "#" + secretOne}, []string{"a"}},
		{"shortest", secretOne[:minSecretBytes], map[string]string{"1": secretOne[:minSecretBytes]}, []string{"1"}},
		{"longest", long, map[string]string{"1": long}, []string{"1"}},
		{"every byte of a label", "aZ09._-: " + secretOne, map[string]string{"aZ09._-": secretOne}, []string{"aZ09._-"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := mustLoadSecrets(t, tt.content)
			if diff := cmp.Diff(tt.labels, labels(s)); diff != "" {
				t.Errorf("labels (-want +got)\n%s", diff)
			}
			for want, secret := range tt.want {
				if got, ok := s.Match(secret); got != want || !ok {
					t.Errorf("Match(%q) = %q, %v, want %q, true", secret, got, ok, want)
				}
			}
		})
	}
}

func TestLoadSecretsErrors(t *testing.T) {
	tests := []struct {
		name, content string
		line          int // 0: the error is about the file
		want          error
	}{
		{"empty file", "", 0, errNoSecret},
		{"comments only", "# " + secretOne + "\n\n", 0, errNoSecret},
		{"label without secret", "current:", 1, errSecretEmpty},
		{"label with blanks", "\ncurrent: \t\n", 2, errSecretEmpty},
		{"expiry without secret", "current until 2026-12-31:", 1, errSecretEmpty},
		{"short", "current: " + secretOne[:minSecretBytes-1], 1, errSecretShort},
		{"short, without a label", "hunter2", 1, errSecretShort},
		{"long", "current: " + strings.Repeat("x", maxSecretBytes+1), 1, errSecretLong},
		{"tab", "current: " + secretOne + "\tx", 1, errSecretBytes},
		{"NUL", secretOne + "\x00", 1, errSecretBytes},
		{"carriage return within", secretOne + "\rx", 1, errSecretBytes},
		{"DEL", secretOne + "\x7f", 1, errSecretBytes},
		{"UTF-8", "current: \u00e4" + secretOne, 1, errSecretBytes},
		{"byte order mark", "\ufeff" + secretOne, 1, errSecretBytes},
		{"byte order mark and a label", "\ufeffcurrent: " + secretOne, 1, errSecretLabel},
		{"no blank after the label", "current:" + secretOne, 1, errSecretColon},
		{"no label", ": " + secretOne, 1, errSecretLabel},
		{"label of two words", "the current: " + secretOne, 1, errSecretLabel},
		{"label of three words", "the one current: " + secretOne, 1, errSecretLabel},
		{"label of other bytes", "curr\u00e9nt: " + secretOne, 1, errSecretLabel},
		{"label too long", strings.Repeat("x", maxSecretLabel+1) + ": " + secretOne, 1, errSecretLabel},
		{"secret in place of a label", secretTwo + ": " + secretOne, 1, errSecretLabel},
		{"expiry without a label", "until 2026-12-31: " + secretOne, 1, errSecretLabel},
		{"no expiry", "current until: " + secretOne, 1, errSecretLabel},
		{"no such day", "current until 2026-02-29: " + secretOne, 1, errSecretExpiry},
		{"time without zone", "current until 2026-12-31T18:00:00: " + secretOne, 1, errSecretExpiry},
		{"secret in place of an expiry", "current until " + secretTwo + ": " + secretOne, 1, errSecretExpiry},
		{"later line", "# a\nb: " + secretOne + "\n\nc: short\n", 4, errSecretShort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := secretsFile(t, tt.content)
			s, err := LoadSecrets(path)
			if s != nil || !errors.Is(err, tt.want) {
				t.Fatalf("LoadSecrets = %v, %v, want error %v", s, err, tt.want)
			}
			want := path + ": "
			if tt.line > 0 {
				want = fmt.Sprintf("%s:%d: ", path, tt.line)
			}
			if !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error %q does not begin with %q", err, want)
			}
			checkSecretsError(t, path, err)
		})
	}
}

func TestLoadSecretsDuplicates(t *testing.T) {
	tests := []struct{ name, content, want string }{
		{"label", "a: " + secretOne + "\n\na: " + secretTwo, ":3: same label as in line 1: "},
		{"label equal to the position of another", "2: " + secretOne + "\n" + secretTwo, ":2: same label as in line 1: "},
		{"secret", "# x\na: " + secretOne + "\nb: " + secretOne, ":3: same secret as in line 2: "},
		{"same secret without labels", secretOne + "\n" + secretOne, ":2: same secret as in line 1: "},
		{"expired secret", "a until 2001-01-01: " + secretOne + "\nb: " + secretOne, ":2: same secret as in line 1: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := secretsFile(t, tt.content)
			_, err := LoadSecrets(path)
			if err == nil || !strings.HasPrefix(err.Error(), path+tt.want) {
				t.Fatalf("error %v, want %s%s...", err, path, tt.want)
			}
			checkSecretsError(t, path, err)
		})
	}
}

// secretsComplaints are all errors about the lines of a file: after the name of
// the file, nothing in them comes from its contents.
var secretsComplaints = func() *regexp.Regexp {
	var all []string
	for _, err := range []error{
		errNoSecret, errSecretEmpty, errSecretShort, errSecretLong, errSecretBytes,
		errSecretColon, errSecretLabel, errSecretExpiry,
	} {
		all = append(all, regexp.QuoteMeta(err.Error()))
	}
	all = append(all, `same (label|secret) as in line \d+: (choose another|delete one of the two)`)
	return regexp.MustCompile(`\A(:\d+)?: (` + strings.Join(all, "|") + `)\z`)
}()

func checkSecretsError(t testing.TB, path string, err error) {
	t.Helper()
	if text, ok := strings.CutPrefix(err.Error(), path); !ok || !secretsComplaints.MatchString(text) {
		t.Errorf("error %q contains more than the file, the line and a fixed text", err)
	}
}

// FuzzLoadSecrets checks that any file is loaded or refused with one of the fixed
// texts, and that what is loaded conforms to the documentation of LoadSecrets.
func FuzzLoadSecrets(f *testing.F) {
	for _, content := range []string{
		"", "#\n", secretOne, "a: " + secretOne + "\nb: " + secretTwo, "a: " + secretOne + "\na: " + secretTwo,
		secretOne + "\n" + secretOne, "a until 2026-12-31: " + secretOne, "a until 2026-12-31T18:00:00+02:00: " + secretOne,
		"a until x: " + secretOne, "a:" + secretOne, "a:", ": :", "a\x00: " + secretOne, "\r\r\n\t: \x80",
		"a: " + strings.Repeat("x", maxSecretBytes+1), "a until 9999-12-31: " + secretOne,
		"a until 0000-01-01: " + secretOne,
	} {
		f.Add([]byte(content))
	}
	early := time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) // before any expiry
	f.Fuzz(func(t *testing.T, content []byte) {
		lines := strings.Split(string(content), "\n")
		s, err := parseSecrets("file", content)
		if err != nil {
			checkSecretsError(t, "file", err)
			return
		}
		seen := map[string]bool{}
		for _, entry := range s.list {
			line := strings.Trim(lines[entry.line-1], " \t\r")
			secret := line
			if strings.Contains(line, ":") {
				_, secret, _ = strings.Cut(strings.ReplaceAll(line, ":\t", ": "), ": ")
				secret = strings.TrimLeft(secret, " \t")
			}
			if len(secret) < minSecretBytes || len(secret) > maxSecretBytes || seen[entry.label] {
				t.Fatalf("line %d: loaded with label %q: %q", entry.line, entry.label, line)
			}
			seen[entry.label] = true
			got, ok := s.matchAt(secret, early)
			if !ok || got != entry.label {
				t.Fatalf("line %d: %q matches %q, %v", entry.line, secret, got, ok)
			}
			if _, ok := s.matchAt(secret+"x", early); ok {
				t.Fatalf("line %d: %q matches with an additional byte", entry.line, secret)
			}
		}
		if len(seen) == 0 {
			t.Fatal("loaded a file without a secret")
		}
	})
}

func TestSecretsExpire(t *testing.T) {
	const content = "day until 2026-12-31: " + secretOne + "\n" +
		"time until 2026-12-31T18:00:00+02:00: " + secretTwo + "\n" +
		"good: " + secretThree
	s := mustLoadSecrets(t, content)
	tests := []struct {
		name, now       string
		day, time, good bool
	}{
		{"before", "2026-06-01T00:00:00Z", true, true, true},
		{"just before the time", "2026-12-31T15:59:59Z", true, true, true},
		{"at the time", "2026-12-31T16:00:00Z", true, false, true},
		{"last second of the day", "2026-12-31T23:59:59Z", true, false, true},
		{"last second elsewhere", "2026-12-31T23:59:59-01:00", false, false, true},
		{"next day", "2027-01-01T00:00:00Z", false, false, true},
		{"years later", "2040-01-01T00:00:00Z", false, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				secret, label string
				want          bool
			}{{secretOne, "day", tt.day}, {secretTwo, "time", tt.time}, {secretThree, "good", tt.good}} {
				label, ok := s.matchAt(c.secret, now)
				if ok != c.want || ok && label != c.label || !ok && label != "" {
					t.Errorf("%s: got %q, %v, want %v", c.label, label, ok, c.want)
				}
			}
		})
	}
	if diff := cmp.Diff([]string{"day", "time", "good"}, labels(s)); diff != "" {
		t.Errorf("labels (-want +got)\n%s", diff)
	}
	// The end of year 0 is the zero time.
	for _, expiry := range []string{"2001-01-01", "0000-12-31", "0001-01-01T00:00:00Z"} {
		if _, ok := mustLoadSecrets(t, "old until "+expiry+": "+secretOne).Match(secretOne); ok {
			t.Errorf("Match accepts a secret that expired on %s", expiry)
		}
	}
}

func TestSecretsMatchNothingElse(t *testing.T) {
	longest := strings.Repeat("x", maxSecretBytes)
	s := mustLoadSecrets(t, "a: "+secretOne+"\nb: "+longest)
	for _, value := range []string{
		"", " ", "a", "a: " + secretOne, secretTwo, secretOne + " ", " " + secretOne,
		secretOne + secretOne, longest + "x", longest + longest, longest[1:], strings.Repeat("x", 1<<20),
	} {
		if label, ok := s.Match(value); ok || label != "" {
			t.Errorf("Match of %d bytes = %q, %v, want none", len(value), label, ok)
		}
	}
	for _, s := range []*Secrets{nil, {}} {
		if _, ok := s.Match(""); ok {
			t.Error("the empty value matches although there are no secrets")
		}
	}
}

// The result of LoadSecrets contains neither the secrets nor digests that can be
// computed without the key.
func TestSecretsAreNotStored(t *testing.T) {
	s := mustLoadSecrets(t, "a: "+secretOne)
	if dump := fmt.Sprintf("%+v %#v", s.list, s.list); strings.Contains(dump, secretOne[:8]) {
		t.Errorf("a dump contains the secret: %s", dump)
	}
	got := s.list[0].digest
	if got == sha256.Sum256([]byte(secretOne)) {
		t.Error("the digest does not depend on the key")
	}
	unkeyed := hmac.New(sha256.New, make([]byte, sha256.Size))
	unkeyed.Write([]byte(secretOne))
	if got == secretDigest(unkeyed.Sum(nil)) {
		t.Error("the key is zero")
	}
}

func TestLoadSecretsAccess(t *testing.T) {
	for _, tt := range []struct {
		mode fs.FileMode
		ok   bool
	}{
		{0o600, true}, {0o400, true}, {0o700, true},
		{0o640, false}, {0o620, false}, {0o610, false}, {0o604, false}, {0o602, false}, {0o601, false}, {0o644, false}, {0o440, false},
	} {
		t.Run(fmt.Sprintf("%#o", tt.mode), func(t *testing.T) {
			path := secretsFile(t, secretOne)
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := LoadSecrets(path)
			if tt.ok != (err == nil) {
				t.Fatalf("error %v, want none: %v", err, tt.ok)
			}
			if err != nil && !strings.Contains(err.Error(), path+": mode "+fmt.Sprintf("%#o", tt.mode)) {
				t.Errorf("error %q does not name the file and its mode", err)
			}
		})
	}
}

func TestLoadSecretsOfOthers(t *testing.T) {
	path := secretsFile(t, secretOne)
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Skipf("only root can change the owner of a file: %v", err)
	}
	if _, err := LoadSecrets(path); err == nil || !strings.Contains(err.Error(), "owned by user 12345") {
		t.Errorf("error %v, want one that names the owner", err)
	}
}

func TestLoadSecretsFromSystemd(t *testing.T) {
	path := secretsFile(t, secretOne)
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	outward := filepath.Join(t.TempDir(), "outward")
	if err := os.Symlink(path, outward); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, credentials, path string
		ok                      bool
	}{
		{"in it", dir, path, true},
		{"below it", filepath.Dir(dir), path, true},
		{"link to a file in it", dir, link, true},
		{"no directory", "", path, false},
		{"beside it", t.TempDir(), path, false},
		{"same beginning", dir[:len(dir)-1], path, false},
		{"link in it to a file elsewhere", filepath.Dir(outward), outward, false},
		{"relative", ".", path, false},
		{"missing file", dir + "/none", path, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", tt.credentials)
			if _, err := LoadSecrets(tt.path); tt.ok != (err == nil) {
				t.Errorf("error %v, want none: %v", err, tt.ok)
			}
		})
	}
}

func TestLoadSecretsOddFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	full := strings.Repeat("#", maxSecretsFile-len(secretOne)-1) + "\n" + secretOne
	for _, tt := range []struct{ name, path, want string }{
		{"directory", dir, "not a regular file"},
		{"FIFO without a writer", fifo, "not a regular file"},
		{"device", "/dev/null", "not a regular file"},
		{"too large", secretsFile(t, full+"\n"), "larger than 64 KiB"},
		{"missing", filepath.Join(dir, "missing"), "no such file"},
		{"just not too large", secretsFile(t, full), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadSecrets(tt.path)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
				t.Errorf("error %v, want one with %q and %q", err, tt.path, tt.want)
			}
		})
	}
	if _, err := LoadSecrets(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want %v", err, fs.ErrNotExist)
	}
}
