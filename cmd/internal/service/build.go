package service

import (
	"context"
	"time"

	"culvert/cmd/internal/config"
	"culvert/cmd/internal/resolve"
	"culvert/l4"
)

// resolveTimeout bounds the lookup of all host names of a configuration.
const resolveTimeout = 5 * time.Second

// build makes what the engine runs of file, with the addresses that r finds.
func build(file *config.File, r *resolve.Resolver) (*l4.Config, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	return file.Build(ctx, r)
}
