package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// readLines sends the lines of r to the channel it returns, which is never
// closed: a demo without an input goes on without one.
func readLines(r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return lines
}

// obey does what a line asks for: "stop NAME" ends a chat server and its
// connections, "start NAME" runs it again at the same address.
func (d *demo) obey(line string) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	if len(words) == 2 {
		for _, c := range d.chats {
			switch {
			case c.name != words[1]:
			case words[0] == "stop":
				c.close()
				fmt.Fprintf(d.out, "%s is stopped.\n", c.name)
				return
			case words[0] == "start":
				d.restart(c)
				return
			}
		}
	}
	fmt.Fprintf(d.out, "Not understood: stop or start, and %s or %s.\n", d.chats[0].name, d.chats[1].name)
}

func (d *demo) restart(c *chatServer) {
	if err := c.start(); err != nil {
		fmt.Fprintf(d.out, "%s does not start: %v\n", c.name, err)
		return
	}
	fmt.Fprintf(d.out, "%s runs.\n", c.name)
}

// callAgain returns how a shell calls a program that was called as arg0: by
// the same path, or by the name of this one when the shell found it in PATH.
func callAgain(arg0 string) string {
	if strings.Contains(arg0, "/") {
		return shellWord(arg0)
	}
	return "culvert"
}

// plainWord matches what no shell reads as anything but text.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]+$`)

// shellWord quotes text for a shell if it has to be.
func shellWord(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
