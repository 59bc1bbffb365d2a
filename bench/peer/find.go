package peer

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// versionTimeout bounds how long a program may take to print its version.
const versionTimeout = 5 * time.Second

// Find returns an error with advice if the peer's program is not installed.
func (p Peer) Find() error {
	if _, err := p.look(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// look returns the program's absolute path, because the program is started in
// another folder.
func (p Peer) look() (string, error) {
	if p.Binary == "" {
		return "", nil
	}
	path, err := exec.LookPath(p.Binary)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", fmt.Errorf("%s not found; %s", p.Binary, p.Install)
	}
	return path, nil
}

// Version returns the version that the program prints, "" if it prints none.
func (p Peer) Version(ctx context.Context) string {
	path, err := p.look()
	if err != nil || p.versionArgs == nil {
		return p.version
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, p.versionArgs...)
	cmd.WaitDelay = time.Second
	out, _ := cmd.CombinedOutput() // some programs print it and exit with status 1
	if m := regexp.MustCompile(p.version).FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}
