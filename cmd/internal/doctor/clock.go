package doctor

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// maxSkew is the maximum difference of a clock: sessions, one-time tokens of
// single sign-on and the order of posts depend on the time.
const maxSkew = 30 * time.Second

// date compares the Date of an answer, which has a resolution of a second, with
// the local clock.
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
	if s.skew.Abs() > maxSkew {
		l.wrong("synchronise the server's clock with chrony or systemd-timesyncd; if all servers differ by the same time, synchronise this machine's",
			"the server's clock is %s this machine's, at most %s is allowed", offset(s.skew), maxSkew)
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
	if apart > maxSkew {
		l.wrong("synchronise the clocks of all servers with chrony or systemd-timesyncd",
			"the clocks of %s and %s are %s apart", slow.member.Name(), fast.member.Name(), apart)
	}
	return l
}
