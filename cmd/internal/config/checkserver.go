package config

// members looks at what the servers are together.
func (k *checker) members(p *Pool) {
	all, primaries, up := 0, 0, 0
	for _, s := range live(p.Servers) {
		if _, err := parseServer(s.Address); err != nil {
			continue // was reported
		}
		all++
		if !s.Backup {
			primaries++
		}
		if !s.Down {
			up++
		}
	}
	switch {
	case all == 0: // was reported
	case primaries == 0:
		k.errorAt(p.At("servers"), "every server of the pool is a backup, expected at least one that is not")
	case up == 0:
		k.warnAt(p.At("servers"), "every server of the pool %s is down", p.Name)
	}
}

func (k *checker) server(s *Server) {
	const want = `a server's address ("10.0.0.1:443", "[2001:db8::1]:443", "host.example.com:443", "srv:_https._tcp.example.com" or "unix:/path")`
	k.in(partOf("server", s.Name, s.Address), func() {
		k.require(&s.Source, s.Address != "", "the server", "address")
		k.name(s.ValueAt("name"), s.Name)
		k.serverBounds(s)
		if s.Address == "" {
			return
		}
		e, err := parseServer(s.Address)
		if err != nil {
			k.wrong(s.ValueAt("address"), s.Address, want+": "+err.Error())
		} else if e.srv {
			k.ignored(&s.Source, "beside an SRV name: its records say which servers there are, and their weights and priorities",
				[]use{{"name", s.Name != ""}, {"weight", s.Weight != 0}, {"backup", s.Backup}})
		}
	})
}

func (k *checker) serverBounds(s *Server) {
	b := bounded{k, &s.Source}
	b.integer("weight", s.Weight, 1, maxWeight)
	b.integer("max_conns", s.MaxConns, 1, maxConnections)
	b.decimal("max_rate", s.MaxRate, minRate, maxRate)
	b.duration("max_wait", s.MaxWait, waitSpan)
	if !is(&s.Source, use{"max_rate", s.MaxRate != 0}) {
		k.ignored(&s.Source, `without "max_rate"`, []use{{"max_wait", s.MaxWait != 0}})
	}
}
