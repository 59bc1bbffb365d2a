package service

import (
	"context"
	"time"

	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
)

// resolveTimeout bounds the lookup of all host names of a configuration.
const resolveTimeout = 5 * time.Second

// check checks c and returns its warnings.
func check(c *config.Config) (warnings config.Errors, err error) {
	errs, warnings := c.Check()
	return warnings, errs.Err()
}

// build makes what is run of c, with the addresses that r finds.
func (s *Service) build(c *config.Config, r *resolve.Resolver) (*config.Built, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	b, err := c.Build(ctx, r)
	if err == nil && s.opts.BufferLimit != nil {
		b.LimitBuffers(s.opts.BufferLimit())
	}
	return b, err
}

func (s *Service) logWarnings(warnings config.Errors) {
	for _, w := range warnings {
		s.log.Warn(w.Error())
	}
}
