package config

import (
	"context"

	"culvert/l4"
)

// Build resolves the host names among the servers' addresses, once, and makes
// what the runtime runs. c must have been checked without errors. A host with
// several addresses becomes several servers, each with the weight and limits of
// the entry, and each known by its ip:port. A server with a configured name
// must have a single address. Pools balanced by nginx-hash hash the host as
// written. Each call makes pools of its own. The error is of type [Errors].
func (c *Config) Build(ctx context.Context, r Resolver) (*Built, error) {
	b := builder{config: c, answers: lookUp(ctx, c.hosts(), r)}
	engine, err := b.build()
	if err != nil {
		return nil, err
	}
	return b.built(engine)
}

// Unresolved is Build as far as c alone goes: a host name stands for one
// server, known by its address as written, and the pools have no Targets. An
// engine cannot run the result; it shows where connections would go.
func (c *Config) Unresolved() (*l4.Config, error) {
	b := builder{config: c}
	return b.build()
}

// A builder makes one l4.Config.
type builder struct {
	config  *Config
	answers map[string]answer // nil: host names stay as written
	pools   map[string]*l4.Pool
	errs    Errors
}

func (b *builder) errorAt(at Position, format string, args ...any) {
	b.errs = append(b.errs, at.Errorf(format, args...))
}

func (b *builder) build() (*l4.Config, error) {
	c := b.config
	b.pools = make(map[string]*l4.Pool, len(c.Pools))
	for _, p := range live(c.Pools) {
		b.pools[p.Name] = b.pool(p)
	}
	if err := b.errs.Err(); err != nil {
		return nil, err
	}
	cfg := &l4.Config{Loops: c.Loops, Limits: l4.Limits{
		Connections: c.Limits.Connections, HelloPerPrefix: c.Limits.HelloPerPrefix, BufferedBytes: c.Limits.BufferMemory,
	}}
	for _, l := range live(c.Listeners) {
		cfg.Listeners = append(cfg.Listeners, b.listener(l))
	}
	if err := b.errs.Err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// built adds to engine what goes on beside it.
func (b *builder) built(engine *l4.Config) (*Built, error) {
	c := b.config
	out := &Built{Config: c, Engine: engine, Redirects: map[*l4.Listener]int{}}
	var err error
	if out.Admin, err = c.Admin.address(); err != nil {
		b.errorAt(c.Admin.ValueAt("address"), "%v", err)
	}
	out.Pools = b.builtPools(engine)
	for i, l := range live(c.Listeners) {
		if l.Redirect > 0 {
			out.Redirects[engine.Listeners[i]] = l.Redirect
		}
		out.Terminations = append(out.Terminations, l.terminations(engine.Listeners[i])...)
	}
	if err := b.errs.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

// LimitBuffers bounds the bytes that are buffered for slow peers and incomplete
// hellos, unless the configuration does; 0 or less is no bound. It never raises
// the default. It must be called before the engine gets b.Engine.
func (b *Built) LimitBuffers(max int64) {
	if b.Config.Limits.BufferMemory == 0 && max > 0 {
		b.Engine.Limits.BufferedBytes = min(max, l4.DefaultBufferedBytes)
	}
}
