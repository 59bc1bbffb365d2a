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
	minSecretBytes = 32 // a result of openssl rand -base64 32 is longer
	maxSecretBytes = 1024
	maxSecretsFile = 64 << 10
	maxSecretLabel = 32
)

// Secrets are the pre-auth secrets that are valid at the same time: the current
// one and, during a rotation, the previous one. Only keyed digests are stored,
// not the secrets; the key exists as long as the process. Secrets is immutable;
// nil and the zero value match nothing.
type Secrets struct{ list []secretEntry }

type secretEntry struct {
	label   string
	expires bool
	until   time.Time // only if expires is true
	digest  secretDigest
	line    int
}

type secretDigest [sha256.Size]byte

// secretKey is the key of the digests, which are useless without it.
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

// LoadSecrets reads a file of secrets, one per line:
//
//	# a comment
//	current: 3q2+7w/fJk1lqUuW0pXcV9yYx3n8mZ0aBtHs5dRg2eI=
//	previous until 2026-12-31: 0mJ9vQe4Lx/8sT+1bWcKzR6yUaDfGhN2pIoX7rEtY5k=
//	wQ8zH4nLk2/sVb+T7cXyR1pDfG0mJ9eUaI5oK3rWt6E=
//
// A secret is 32 to 1024 bytes of printable ASCII, without the blanks around it.
// A label is 1 to 32 letters, digits, ".", "_" or "-", followed by a colon and a
// blank. Logs and metrics show it. A secret without a label must not contain a
// colon; its label is its position among the secrets of the file, "1" for the
// first. An expiry is a date, up to and including that day in UTC, or a time as
// in RFC 3339. A file whose secrets have all expired is loaded and matches
// nothing.
//
// The file must be a regular file of at most 64 KiB, owned by root or the user
// of the process, and not accessible to other users; owner and mode are not
// checked for files in systemd's $CREDENTIALS_DIRECTORY. Errors contain the
// file, the line if there is one, and the remedy, but nothing of the contents.
// If the file does not exist, the error is [io/fs.ErrNotExist].
func LoadSecrets(path string) (*Secrets, error) {
	data, err := readSecrets(path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	return parseSecrets(path, data)
}

// readSecrets returns the contents of the file after checking its type, owner,
// mode and size.
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
		return nil, fmt.Errorf("%s: not a regular file: store the secrets in one", path)
	}
	if err := checkSecretsAccess(path, info); err != nil && !systemdCredential(path) {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecretsFile+1))
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	if len(data) > maxSecretsFile {
		return nil, fmt.Errorf("%s: larger than 64 KiB: remove everything but the secrets", path)
	}
	return data, nil
}

func checkSecretsAccess(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s: mode %#o gives other users access to the secrets: chmod it to 600 and replace the secrets", path, mode)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: owned by user %d, who can change the secrets: chown it to root or to the user that culvert runs as", path, stat.Uid)
	}
	return nil
}

// systemdCredential reports whether a file is in the directory that systemd
// created for this service (systemd.exec(5), LoadCredential=). Files there have
// mode 0440 because of the ACL that gives the service's user access.
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

// Errors in a line. Their texts are fixed because all of the line may be a
// secret, including what looks like its label.
var (
	errNoSecret     = errors.New("no secret in the file: add one, for example from openssl rand -base64 32")
	errSecretEmpty  = errors.New("no secret after the label: add one, for example from openssl rand -base64 32")
	errSecretShort  = errors.New("secret is shorter than 32 bytes: use a longer one, for example from openssl rand -base64 32")
	errSecretLong   = errors.New("secret is longer than 1024 bytes: use a shorter one, for example from openssl rand -base64 32")
	errSecretBytes  = errors.New("secret cannot be sent in a header: use printable ASCII only, as openssl rand -base64 32 does")
	errSecretColon  = errors.New("no blank after the colon: write \"label: secret\"; a secret with a colon needs a label")
	errSecretLabel  = errors.New("malformed label: write \"label: secret\" or \"label until 2026-12-31: secret\", the label with at most 32 letters, digits, dots, underscores and dashes")
	errSecretExpiry = errors.New("malformed expiry: write a date like 2026-12-31 or a time like 2026-12-31T18:00:00Z")
)

// parseSecret parses a line that is neither blank nor a comment. fallback is the
// label if the line has none.
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

// cutSecretLabel cuts a line at the first colon followed by a blank or by
// nothing. The colons of a time are followed by neither.
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

// parseHead parses "label" or "label until expiry".
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
		return time.Time{}, errSecretExpiry // without the text, which may be part of a secret
	}
	return until, nil
}

// checkSecret checks that a secret can be sent unchanged as a header value
// (RFC 9110 section 5.5). It does not permit obs-text.
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
// returns its label. The time it takes depends only on the length of value and
// the number of secrets.
func (s *Secrets) Match(value string) (label string, ok bool) {
	return s.matchAt(value, time.Now())
}

func (s *Secrets) matchAt(value string, now time.Time) (label string, ok bool) {
	if s == nil {
		return "", false
	}
	// A value longer than any secret takes as long and never matches.
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
