// Package doctor examines Mattermost servers from outside, as clients and
// culvert use them, and checks that the configuration file, the certificates
// and the servers' own settings agree.
//
// It connects to each server directly, never through a running culvert,
// without a login and without a pre-auth secret. It changes no setting. Its
// requests have the same side effects as those of any visitor: the test record
// of a full ping, which the server deletes itself, and one-time tokens of
// unfinished logins, which expire. It cannot check what only an administrator
// may read.
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

// Limits of an examination.
const (
	probeTimeout = 5 * time.Second // of a request, including the connection
	maxServers   = 64              // examined concurrently
	maxBody      = 256 << 10       // bytes read of a response body; client settings have 10 KiB
	maxHeader    = 64 << 10        // bytes of a response header
	maxNames     = 32              // server names requested from one server
)

// MostTime is how long an examination may take.
const MostTime = 30 * time.Second

// Doctor examines servers. The zero value is ready for use; its methods are
// safe for concurrent use.
type Doctor struct {
	Now   func() time.Time // nil means time.Now
	Roots *x509.CertPool   // authorities where the file names none; nil means the system's
}

// ErrNoSite is returned for a configuration without a pool to examine.
var ErrNoSite = errors.New(`no pool that a listener uses is marked as Mattermost: give it "health: mattermost" or a "site_url"`)

// Examine examines the sites of b. It returns after
// MostTime at the latest; servers not examined by then are reported as wrong.
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
	for _, s := range others { // only problems that affect a site
		if l := s.coalescing(sites); l != nil && len(l.troubles) > 0 {
			sheets = append(sheets, sheet{pool: s.name(), lines: []*line{l}})
		}
	}
	return newReport(sheets), nil
}

// visit examines all servers of sites, and the certificate of one server of
// each other pool.
func visit(ctx context.Context, sites, others []*site) {
	var group errgroup.Group
	group.SetLimit(maxServers)
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
	_ = group.Wait() // findings are in the lines of each server
}

// absent reports whether a server is down in the file, or has no address.
func (s *server) absent() bool {
	return s.member.Causes()&(balancer.Configured|balancer.Unresolved) != 0
}

// examine makes the checks of a single server. Each step takes at most a few
// probe timeouts, and all steps together less than MostTime.
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

// together runs checks concurrently and returns their lines in order.
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
