// Package doctor examines Mattermost servers from outside, as clients and
// culvert meet them: what is written down in several places, the configuration
// file, certificates, the servers' own settings, has to agree.
//
// It asks each server directly, never through a culvert that runs, without a
// login and without a pre-auth secret. It changes no setting; what it asks
// leaves behind what any visitor does: the test record of a full ping, which
// the server deletes itself, and one-time tokens of logins that go no further,
// which expire. What only an administrator may see, it does not see.
package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"culvert/balancer"
	"culvert/cmd/internal/config"
)

// Bounds of an examination.
const (
	probeTimeout = 5 * time.Second // of a request, connecting included
	mostServers  = 64              // examined at a time
	mostBody     = 256 << 10       // read of an answer, in bytes; client settings have 10 KiB
	mostHeader   = 64 << 10
	mostNames    = 32 // server names that a server is asked for
)

// MostTime is how long an examination may take.
const MostTime = 30 * time.Second

// Doctor examines. The zero value is ready; its methods are for concurrent use.
type Doctor struct {
	Now   func() time.Time // default: time.Now
	Roots *x509.CertPool   // authorities where the file names none; default: the system's
}

// ErrNoSite says that a file has no pool to examine.
var ErrNoSite = errors.New(`no pool that a listener leads to is a Mattermost: give it "health: mattermost" or a "site_url"`)

// Examine examines the sites of b. It is over after
// MostTime; what was not asked by then is reported as not answering.
func (d Doctor) Examine(ctx context.Context, b *config.Built) (*Report, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	ctx, cancel := context.WithTimeout(ctx, MostTime)
	defer cancel()
	var sites, others []*site
	for _, s := range b.Sites() {
		x := d.newSite(s, b.Engine)
		if s.Mattermost {
			sites = append(sites, x)
		} else if x.passedThrough() {
			others = append(others, x)
		}
	}
	if len(sites) == 0 {
		return nil, ErrNoSite
	}
	visit(ctx, sites, others)
	var sheets []sheet
	for _, s := range sites {
		sheets = append(sheets, s.sheets(slices.Concat(sites, others))...)
	}
	for _, s := range others { // only what goes wrong for a site
		if l := s.coalescing(sites); l != nil && len(l.troubles) > 0 {
			sheets = append(sheets, sheet{pool: s.name(), lines: []*line{l}})
		}
	}
	return newReport(sheets), nil
}

// visit examines all servers of sites, and asks one of each other pool for its
// certificate.
func visit(ctx context.Context, sites, others []*site) {
	var group errgroup.Group
	group.SetLimit(mostServers)
	each := func(s *server, examine func(context.Context)) {
		group.Go(func() error {
			defer s.transport.CloseIdleConnections()
			examine(ctx)
			return nil
		})
	}
	for _, x := range sites {
		for _, s := range x.servers {
			each(s, s.examine)
		}
	}
	for _, x := range others {
		for _, s := range x.servers {
			if !s.absent() {
				each(s, func(ctx context.Context) { s.certificate(ctx) })
				break
			}
		}
	}
	_ = group.Wait() // what a check finds goes into its server's lines
}

// absent reports whether a server is down by the file, or has no address.
func (s *server) absent() bool {
	return s.member.Causes()&(balancer.Configured|balancer.Unresolved) != 0
}

// examine does what concerns one server alone. Each step takes no longer than
// a few probes, all of them less than MostTime.
func (s *server) examine(ctx context.Context) {
	if s.absent() {
		s.lines = present(s.whyAbsent())
		return
	}
	if ctx.Err() != nil {
		s.lines = present(s.unvisited())
		return
	}
	s.lines = present(s.reach(ctx))
	if !s.reachable {
		return
	}
	s.lines = append(s.lines, together(ctx, s.certificate, s.readSettings)...)
	if s.mistaken {
		return
	}
	s.lines = append(s.lines, together(ctx, s.ping, s.siteURL, s.signOn, s.scheme, s.websocket)...)
	s.lines = append(s.lines, together(ctx, s.clock, s.certificateLogin)...)
}

// together runs checks at once and returns their lines in order.
func together(ctx context.Context, checks ...func(context.Context) *line) []*line {
	lines := make([]*line, len(checks))
	var group errgroup.Group
	for i, check := range checks {
		group.Go(func() error {
			lines[i] = check(ctx)
			return nil
		})
	}
	_ = group.Wait()
	return present(lines...)
}
