package peer

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// config is the data for the templates of a peer's files.
type config struct {
	Setup            // Workers is never 0
	Listen    string // ip:port
	ListenTLS string // ip:port for EndedName; may be equal to Listen
	Dir       string // the peer's own folder, in which it is started
	FDs       int    // descriptors that the peer may have
	User      string // the user to which a program started as root should change; "" if it must not
	Packaged  bool   // the program is from the distribution's package
}

// Names returns all names with a route.
func (c config) Names() []string {
	names := make([]string, 0, c.Routes+1)
	names = append(names, ServerName)
	for i := range c.Routes {
		names = append(names, RouteName(i))
	}
	return names
}

var notations = template.FuncMap{
	"ms":      func(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) },
	"onOff":   func(on bool) string { return map[bool]string{true: "on", false: "off"}[on] },
	"pattern": func(name string) string { return strings.ReplaceAll(regexp.QuoteMeta(name), `\`, `\\`) },
	"seconds": func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s" },
	"host":    func(addr string) string { h, _, _ := net.SplitHostPort(addr); return h },
	"port":    func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p },
}

// outputFile is the file for the peer's output. It is created before the peer
// starts, so that its owner is changed with the other files.
const outputFile = "output"

// writeFiles writes the peer's files into its folder.
func (p Peer) writeFiles(c config) error {
	if err := writeFile(filepath.Join(c.Dir, outputFile), "", c); err != nil {
		return err
	}
	for name, text := range p.files {
		if err := writeFile(filepath.Join(c.Dir, name), text, c); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path, text string, c config) error {
	t, err := template.New(filepath.Base(path)).Funcs(notations).Parse(text)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	if err := t.Execute(w, c); err != nil {
		return err
	}
	return w.Flush()
}
