// Command culvert-bench measures culvert beside nginx and HAProxy on this
// machine and prints what each costs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"culvert/bench"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "culvert-bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var o bench.Options
	binary := flag.String("culvert", "bin/culvert", "the culvert `binary` to measure")
	only := flag.String("only", "", "comma-separated `names` of workloads; all by default")
	without := flag.String("without", "", "comma-separated `names` of peers to leave out")
	flag.IntVar(&o.Rounds, "rounds", 5, "measurements per workload and peer")
	flag.DurationVar(&o.Duration, "duration", 0, "length of one measurement (default 2s)")
	flag.IntVar(&o.Workers, "workers", 2, "loops, workers or threads of every proxy")
	flag.BoolVar(&o.HalfClose, "half-close", true, "half-closed connections are kept (nginx: proxy_half_close on)")
	flag.Parse()
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	o.Out = os.Stdout
	peers := []bench.Peer{bench.Culvert(*binary)}
	for _, p := range bench.Peers() {
		if !strings.Contains(","+*without+",", ","+p.Name+",") {
			peers = append(peers, p)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	_, err := bench.Run(ctx, peers, o)
	return err
}
