package peer

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// becomeNobody changes the owner of the files in the peer's folder to the user
// nobody, and makes the peer's processes run as that user. It copies the program
// into the folder if that user may not execute it in its place.
func (r *Running) becomeNobody(dir string) error {
	if err := letIn(dir); err != nil {
		return err
	}
	if !everybodyRuns(r.binary) {
		own := filepath.Join(r.config.Dir, filepath.Base(r.binary))
		if err := copyProgram(own, r.binary); err != nil {
			return err
		}
		r.binary = own
	}
	r.nobody = nobody()
	return filepath.WalkDir(r.config.Dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, int(r.nobody.Uid), int(r.nobody.Gid))
	})
}

// nobody returns the credentials of the user nobody, without supplementary
// groups. If the user has no entry it is 65534, the kernel's overflowuid.
func nobody() *syscall.Credential {
	c := &syscall.Credential{Uid: 65534, Gid: 65534}
	u, err := user.Lookup("nobody")
	if err != nil {
		return c
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 == nil && err2 == nil {
		c.Uid, c.Gid = uint32(uid), uint32(gid)
	}
	return c
}

// letIn makes dir itself searchable for all users. It does not change the
// folders above.
func letIn(dir string) error {
	info, err := os.Stat(dir)
	if err == nil {
		err = os.Chmod(dir, info.Mode().Perm()|0o001)
	}
	if err == nil && !isSearchable(dir) {
		err = fmt.Errorf("the user nobody cannot access %s; choose a folder below %s", dir, os.TempDir())
	}
	return err
}

// isSearchable reports whether dir and all folders above it are searchable for
// other users.
func isSearchable(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	for err == nil {
		var info os.FileInfo
		if info, err = os.Stat(dir); err == nil && info.Mode()&0o001 == 0 {
			return false
		}
		if dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	return err == nil
}

func everybodyRuns(program string) bool {
	path, err := filepath.EvalSymlinks(program)
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o005 == 0o005 && isSearchable(filepath.Dir(path))
}

func copyProgram(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err = io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}
