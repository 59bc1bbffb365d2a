package doctor

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// mostSkew is how far a clock may be off: sessions, one-time tokens of single
// sign-on and the order of posts depend on it.
const mostSkew = 30 * time.Second

// date compares the Date of an answer, which counts seconds, with the local
// clock.
func (s *server) date(a *answer) {
	at, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return
	}
	s.skew, s.dated = at.Add(time.Second/2).Sub(a.at), true
}

func (s *server) clock(context.Context) *line {
	if !s.dated {
		return nil
	}
	l := newLine("clock")
	l.see("right")
	if s.skew.Abs() > time.Second {
		l.see("%s this one", offset(s.skew))
	}
	if s.skew.Abs() > mostSkew {
		l.wrong("let chrony or systemd-timesyncd keep the server's clock; if all servers are off by as much, this machine's",
			"the server's clock is %s this machine's, at most %s will do", offset(s.skew), mostSkew)
	}
	return l
}

func offset(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d > time.Second:
		return d.String() + " ahead of"
	case d < -time.Second:
		return (-d).String() + " behind"
	}
	return "the same as"
}

// clocks compares the servers with each other.
func (s *site) clocks() *line {
	dated := slices.DeleteFunc(slices.Clone(s.servers), func(x *server) bool { return !x.dated })
	if len(dated) < 2 {
		return nil
	}
	bySkew := func(a, b *server) int { return int(a.skew - b.skew) }
	slow, fast := slices.MinFunc(dated, bySkew), slices.MaxFunc(dated, bySkew)
	l := newLine("clocks")
	apart := (fast.skew - slow.skew).Round(time.Second)
	l.see("%s apart", apart)
	if apart > mostSkew {
		l.wrong("let chrony or systemd-timesyncd keep the clocks of all servers",
			"the clocks of %s and %s are %s apart", slow.member.Name(), fast.member.Name(), apart)
	}
	return l
}
