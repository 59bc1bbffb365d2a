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

// config is what the templates of a peer's files are executed with.
type config struct {
	Setup            // Workers is never 0
	Listen    string // ip:port
	ListenTLS string // ip:port for EndedName; where it is Listen's, one port has both
	Dir       string // the peer's own folder, where it is started
	FDs       int    // descriptors that the peer may have
	User      string // whom a program that leaves root should become; "": it cannot
	Packaged  bool   // the program is the distribution's own
}

// Names are all names that there is a route for.
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

// outputFile is where what the peer prints goes. It is there before the peer
// starts, to be given away with the rest.
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
