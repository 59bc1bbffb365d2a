package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"culvert/cmd/internal/yaml"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Say whether a configuration file is right",
		Long: `check reads a configuration file and reports everything that is wrong with it,
each error with its line and column. It opens no socket and resolves no name.
The exit status is 1 if there was an error; a warning is not one.`,
		Args:              oneFile,
		ValidArgsFunction: completeFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return check(cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0])
		},
	}
}

func check(out, warnings io.Writer, path string) error {
	c, odd, err := yaml.Load(path)
	if err != nil {
		return err
	}
	for _, w := range odd {
		w.Message = "warning: " + w.Message
		fmt.Fprintln(warnings, w)
	}
	n := c.Counts()
	_, err = fmt.Fprintf(out, "%s: ok (%s, %s, %s, %s)\n", path, count(n.Listeners, "listener"),
		count(n.Pools, "pool"), count(n.Servers, "server"), count(n.Routes, "route"))
	if err == nil && c.Transparent() {
		_, err = io.WriteString(out, transparentRules)
	}
	return err
}

// transparentRules are what "source: client" takes beside the file. Packets of
// servers to clients belong to sockets of this machine, and must be delivered
// here although their address is elsewhere (IP_TRANSPARENT, ip(7); the kernel's
// tproxy document).
const transparentRules = `
"source: client" needs these rules on this machine, and the right to use foreign addresses
(CAP_NET_RAW); on the servers this machine must be the way to the clients:

nft -f - <<END
table inet culvert {
  chain divert {
    type filter hook prerouting priority mangle;
    meta l4proto tcp socket transparent 1 meta mark set 1
  }
}
END
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100
ip -6 rule add fwmark 1 lookup 100
ip -6 route add local default dev lo table 100
`

// count returns n of a thing, in English.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
