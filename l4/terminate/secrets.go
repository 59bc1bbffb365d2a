package terminate

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	minSecretBytes = 32 // what openssl rand -base64 32 exceeds
	maxSecretBytes = 1024
	maxSecretsFile = 64 << 10
	maxSecretLabel = 32
)

// Secrets are the pre-auth secrets that are valid together: the current one
// and, while they are being exchanged, the one before. It holds no secret,
// only digests under a key that lives as long as the process. It is immutable;
// nil and the zero value match nothing.
type Secrets struct{ list []secretEntry }

type secretEntry struct {
	label   string
	expires bool
	until   time.Time // if it expires
	digest  secretDigest
	line    int
}

type secretDigest [sha256.Size]byte

// secretKey makes the digests worthless outside this process.
var secretKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails, see its documentation
	return key
})

func digestSecret(value []byte) (d secretDigest) {
	h := hmac.New(sha256.New, secretKey())
	h.Write(value)
	h.Sum(d[:0])
	return d
}

// LoadSecrets reads a file of secrets, one a line:
//
//	# a comment
//	current: 3q2+7w/fJk1lqUuW0pXcV9yYx3n8mZ0aBtHs5dRg2eI=
//	previous until 2026-12-31: 0mJ9vQe4Lx/8sT+1bWcKzR6yUaDfGhN2pIoX7rEtY5k=
//	wQ8zH4nLk2/sVb+T7cXyR1pDfG0mJ9eUaI5oK3rWt6E=
//
// A secret is 32 to 1024 bytes of printable ASCII, taken as it stands but for
// blanks around it. A label is 1 to 32 letters, digits, ".", "_" or "-", ends
// with a colon and a blank, and is what logs and metrics show; a secret
// without a label cannot have a colon, and is called by its place among the
// secrets of the file, "1" for the first. An expiry is a date, which is
// included and ends in UTC, or a time as in RFC 3339. A file all of whose
// secrets have expired loads, and matches nothing.
//
// The file must be a regular one of at most 64 KiB that belongs to root or to
// the process, and that nobody but its owner can read or write; the last two
// are not asked of a file in systemd's $CREDENTIALS_DIRECTORY. An error says
// the file, the line if one is to blame, and what to do, and nothing of what
// the file holds. A file that is not there is [io/fs.ErrNotExist].
func LoadSecrets(path string) (*Secrets, error) {
	data, err := readSecrets(path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	return parseSecrets(path, data)
}

// readSecrets returns what is in the file, once the file is fit for secrets.
func readSecrets(path string) ([]byte, error) {
	// Without O_NONBLOCK the open of a FIFO waits for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: write the secrets into one", path)
	}
	if err := checkSecretsAccess(path, info); err != nil && !systemdCredential(path) {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecretsFile+1))
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	if len(data) > maxSecretsFile {
		return nil, fmt.Errorf("%s: larger than 64 KiB: leave nothing but secrets in it", path)
	}
	return data, nil
}

func checkSecretsAccess(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s: mode %#o lets others than its owner at the secrets: chmod 600 it, and make new secrets", path, mode)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: belongs to user %d, who can change the secrets: chown it to root or to the user culvert runs as", path, stat.Uid)
	}
	return nil
}

// systemdCredential reports whether a file lies in the directory systemd made
// for this service alone (systemd.exec(5), LoadCredential=). Files in it show
// mode 0440 because of the ACL that lets the service's user in.
func systemdCredential(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if !filepath.IsAbs(dir) {
		return false
	}
	dir, dirErr := filepath.EvalSymlinks(dir)
	file, fileErr := filepath.EvalSymlinks(path)
	if dirErr != nil || fileErr != nil {
		return false
	}
	if file, fileErr = filepath.Abs(file); fileErr != nil {
		return false
	}
	inside, err := filepath.Rel(dir, file)
	return err == nil && filepath.IsLocal(inside)
}

func parseSecrets(path string, data []byte) (*Secrets, error) {
	s := &Secrets{}
	number := 0
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		number++
		line = bytes.Trim(line, " \t\r")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		entry, err := parseSecret(line, strconv.Itoa(len(s.list)+1))
		if err == nil {
			entry.line = number
			err = s.checkDuplicate(entry)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		s.list = append(s.list, entry)
	}
	if len(s.list) == 0 {
		return nil, fmt.Errorf("%s: %w", path, errNoSecret)
	}
	return s, nil
}

// The complaints about a line. They are fixed texts because the line may be a
// secret from end to end, and what looks like its label a part of it.
var (
	errNoSecret     = errors.New("no secret in the file: add one, as openssl rand -base64 32 makes it")
	errSecretEmpty  = errors.New("no secret after the label: add one, as openssl rand -base64 32 makes it")
	errSecretShort  = errors.New("secret is shorter than 32 bytes: make a longer one, with openssl rand -base64 32")
	errSecretLong   = errors.New("secret is longer than 1024 bytes: make a shorter one, with openssl rand -base64 32")
	errSecretBytes  = errors.New("secret cannot be sent in a header: use printable ASCII only, like openssl rand -base64 32 does")
	errSecretColon  = errors.New("no blank after the colon: write \"label: secret\"; a secret with a colon needs a label")
	errSecretLabel  = errors.New("cannot read what is before the colon: write \"label: secret\" or \"label until 2026-12-31: secret\", the label with at most 32 letters, digits, dots, underscores and dashes")
	errSecretExpiry = errors.New("cannot read the expiry: write a date like 2026-12-31 or a time like 2026-12-31T18:00:00Z")
)

// parseSecret reads one line that is neither blank nor a comment. It is called
// fallback if it has no label.
func parseSecret(line []byte, fallback string) (secretEntry, error) {
	entry := secretEntry{label: fallback}
	head, value, labelled := cutSecretLabel(line)
	if labelled {
		if err := entry.parseHead(string(head)); err != nil {
			return entry, err
		}
	} else if bytes.IndexByte(line, ':') >= 0 {
		return entry, errSecretColon
	}
	if err := checkSecret(value); err != nil {
		return entry, err
	}
	entry.digest = digestSecret(value)
	return entry, nil
}

// cutSecretLabel cuts at the first colon with a blank, or nothing, after it.
// The colons of a time have neither.
func cutSecretLabel(line []byte) (head, value []byte, labelled bool) {
	for i, c := range line {
		if c != ':' {
			continue
		}
		if rest := line[i+1:]; len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t' {
			return line[:i], bytes.TrimLeft(rest, " \t"), true
		}
	}
	return nil, line, false
}

// parseHead reads "label" or "label until expiry".
func (e *secretEntry) parseHead(head string) error {
	words := strings.Fields(head)
	if len(words) != 1 && (len(words) != 3 || words[1] != "until") || !validSecretLabel(words[0]) {
		return errSecretLabel
	}
	e.label = words[0]
	if len(words) == 1 {
		return nil
	}
	until, err := parseSecretExpiry(words[2])
	e.expires, e.until = true, until
	return err
}

func validSecretLabel(label string) bool {
	return len(label) <= maxSecretLabel && !strings.ContainsFunc(label, func(c rune) bool {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		return !letter && (c < '0' || '9' < c) && !strings.ContainsRune("._-", c)
	})
}

// parseSecretExpiry returns the first instant at which a secret is no longer
// valid.
func parseSecretExpiry(s string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	until, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, errSecretExpiry // the text may be part of a secret
	}
	return until, nil
}

// checkSecret wants what can be sent as a header's value unchanged (RFC 9110
// section 5.5), without the bytes that are only there for history's sake.
func checkSecret(value []byte) error {
	for _, c := range value {
		if c < ' ' || c > '~' {
			return errSecretBytes
		}
	}
	switch {
	case len(value) == 0:
		return errSecretEmpty
	case len(value) < minSecretBytes:
		return errSecretShort
	case len(value) > maxSecretBytes:
		return errSecretLong
	}
	return nil
}

func (s *Secrets) checkDuplicate(entry secretEntry) error {
	for _, other := range s.list {
		if other.label == entry.label {
			return fmt.Errorf("same label as in line %d: choose another", other.line)
		}
		if other.digest == entry.digest {
			return fmt.Errorf("same secret as in line %d: delete one of the two", other.line)
		}
	}
	return nil
}

// Match reports whether value is one of the secrets and has not expired, and
// which one. The time it takes depends on the length of value and the number
// of secrets and on nothing else.
func (s *Secrets) Match(value string) (label string, ok bool) {
	return s.matchAt(value, time.Now())
}

func (s *Secrets) matchAt(value string, now time.Time) (label string, ok bool) {
	if s == nil {
		return "", false
	}
	// What is longer than any secret is no secret, but costs the same.
	fits := subtle.ConstantTimeLessOrEq(len(value), maxSecretBytes)
	got := digestSecret([]byte(value[:min(len(value), maxSecretBytes)]))
	found := -1
	for i := range s.list {
		same := subtle.ConstantTimeCompare(got[:], s.list[i].digest[:])
		found = subtle.ConstantTimeSelect(same&fits, i, found)
	}
	if found < 0 || s.list[found].expired(now) {
		return "", false
	}
	return s.list[found].label, true
}

func (e *secretEntry) expired(now time.Time) bool {
	return e.expires && !now.Before(e.until)
}
