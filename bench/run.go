package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"time"
)

// Options say how long and how often is measured.
type Options struct {
	Rounds    int           // 0: 5
	Duration  time.Duration // of one measurement; 0: 2 s
	Workers   int           // of every proxy; 0: 2
	HalfClose bool
	Only      []string // names of workloads; empty: all
	Out       io.Writer
}

// Result is one workload's cost on each peer, round by round, in the
// workload's unit.
type Result struct {
	Workload Workload
	Peers    []string
	Rounds   [][]float64 // by round, by peer
}

// Run measures every workload on every peer and prints each result as it is
// ready. The first peer is the one that the others are compared with.
func Run(ctx context.Context, peers []Peer, o Options) ([]Result, error) {
	if o.Rounds == 0 {
		o.Rounds = 5
	}
	if o.Duration == 0 {
		o.Duration = 2 * time.Second
	}
	if o.Workers == 0 {
		o.Workers = 2
	}
	dir, err := os.MkdirTemp("", "culvert-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bencher{Options: o, dir: dir}
	if err := b.start(peers); err != nil {
		b.stop()
		return nil, err
	}
	defer b.stop()
	return b.run(ctx)
}

type bencher struct {
	Options
	dir    string
	hello  []byte
	origin *origin
	peers  []*running
}

func (b *bencher) start(peers []Peer) (err error) {
	if b.hello, err = chatHello(); err != nil {
		return err
	}
	if b.origin, err = startOrigin(len(b.hello)); err != nil {
		return err
	}
	for _, p := range peers {
		r, err := p.start(b.setup())
		if err != nil {
			return err
		}
		b.peers = append(b.peers, r)
	}
	return nil
}

func (b *bencher) setup() setup {
	return setup{Servers: []string{b.origin.addr()}, Workers: b.Workers, Dir: b.dir, HalfClose: b.HalfClose}
}

func (b *bencher) stop() {
	for _, p := range b.peers {
		p.stop()
	}
	if b.origin != nil {
		b.origin.stop()
	}
}

func (b *bencher) run(ctx context.Context) ([]Result, error) {
	var results []Result
	for _, w := range Workloads() {
		if len(b.Only) > 0 && !slices.Contains(b.Only, w.Name) {
			continue
		}
		res, err := b.measure(ctx, w)
		if err != nil {
			return results, fmt.Errorf("%s: %w", w.Name, err)
		}
		results = append(results, res)
		res.print(b.Out)
	}
	return results, nil
}

func (b *bencher) measure(ctx context.Context, w Workload) (Result, error) {
	res := Result{Workload: w}
	for _, p := range b.peers {
		res.Peers = append(res.Peers, p.Name)
	}
	for round := range b.Rounds {
		costs := make([]float64, len(b.peers))
		for i := range b.peers {
			i = (i + round) % len(b.peers) // nobody is always first
			cost, err := b.cost(ctx, w, b.peers[i])
			if err != nil {
				return res, fmt.Errorf("%s: %w", b.peers[i].Name, err)
			}
			costs[i] = cost
		}
		res.Rounds = append(res.Rounds, costs)
	}
	return res, nil
}

// cost is one measurement: processor time, or memory, per unit of work.
func (b *bencher) cost(ctx context.Context, w Workload, p *running) (float64, error) {
	if w.idle > 0 {
		return b.idleCost(p.Peer, w.idle)
	}
	l := &load{addr: p.addr, hello: b.hello}
	ctx, cancel := context.WithTimeout(ctx, b.Duration)
	defer cancel()
	before, err := cpuTime(p.pids)
	if err != nil {
		return 0, err
	}
	count, err := w.run(ctx, l)
	if err != nil {
		return 0, err
	}
	after, err := cpuTime(p.pids)
	if err != nil {
		return 0, err
	}
	if count == 0 {
		return 0, errors.New("no work was done")
	}
	scale := float64(time.Microsecond)
	if w.Unit == "s/GiB" {
		scale = float64(time.Second)
	}
	return float64(after-before) / scale / (float64(count) / w.Per), nil
}

// idleCost is the memory that n connections take which have said hello, got
// an answer, and wait: in a process of its own, because one that has carried
// load before has memory to spare.
func (b *bencher) idleCost(peer Peer, n int) (float64, error) {
	p, err := peer.start(b.setup())
	if err != nil {
		return 0, err
	}
	defer p.stop()
	l := &load{addr: p.addr, hello: b.hello}
	warm, err := idle(l, 64)
	if err != nil {
		return 0, err
	}
	defer closeAll(warm)
	before, err := memory(p.pids)
	if err != nil {
		return 0, err
	}
	conns, err := idle(l, n)
	if err != nil {
		return 0, err
	}
	defer closeAll(conns)
	after, err := memory(p.pids)
	return float64(after-before) / 1024 / float64(n), err
}

// idle opens n connections and exchanges one message on each.
func idle(l *load, n int) ([]net.Conn, error) {
	var conns []net.Conn
	buf := make([]byte, messageSize)
	for range n {
		c, err := l.open(opEcho, messageSize)
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, c)
		if err := pingPong(c, buf); err != nil {
			closeAll(conns)
			return nil, err
		}
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// print writes one line per peer: the median, the spread of the rounds, and
// the median of the per-round ratios of the first peer to this one.
func (r Result) print(w io.Writer) {
	fmt.Fprintf(w, "%s (%s)\n", r.Workload.Name, r.Workload.Unit)
	for i, p := range r.Peers {
		var costs, ratios []float64
		for _, round := range r.Rounds {
			costs = append(costs, round[i])
			ratios = append(ratios, round[0]/round[i])
		}
		fmt.Fprintf(w, "  %-10s %8.2f  (%.2f to %.2f)", p, median(costs), slices.Min(costs), slices.Max(costs))
		if i > 0 {
			fmt.Fprintf(w, "   %s/%s %.2f (%.2f to %.2f)", r.Peers[0], p, median(ratios), slices.Min(ratios), slices.Max(ratios))
		}
		fmt.Fprintln(w)
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
