package yaml

import (
	"regexp"
	"strings"
	"testing"
)

// inFileAt is where fileWith puts the keys of a table, by the table's id.
var inFileAt = map[string]string{
	"file": inFile, "limits": inLimits, "dns": inDNS, "listener": inListener, "listener timeouts": inLTimeouts, "tcp": inTCP,
	"keepalive": inKeepalive, "terminate": inTerminate, "terminate timeouts": inHTTPTimes, "client_certificates": inClients,
	"pool": inPool, "pool timeouts": inPTimeouts, "server": inServer, "health": inHealth, "eject": inEject, "sessions": inSessions,
}

// ranged matches a range of the reference: two values, as the file writes them.
var ranged = regexp.MustCompile("^`?([0-9][0-9.A-Za-z]*)`? to `?([0-9][0-9.A-Za-z]*)`?")

// TestCheckAllowsTheRangesOfTheTable: config.Check has bounds of its own, for
// configurations that are made in Go code. They must not be narrower than what
// the table says.
func TestCheckAllowsTheRangesOfTheTable(t *testing.T) {
	tested := 0
	for id, table := range References() {
		for line := range strings.Lines(table) {
			cells := strings.Split(line, " | ")
			if len(cells) < 5 || !strings.HasPrefix(line, "| `") {
				continue
			}
			key := strings.Trim(cells[0], "| `")
			for _, value := range ranged.FindStringSubmatch(cells[3]) {
				if ranged.MatchString(value) || inFileAt[id] == "" {
					continue
				}
				tested++
				err := parseErr(fileWith(inFileAt[id], key+": "+value))
				if err != nil && regexp.MustCompile("found .*expected a (duration|size|number|whole number)").MatchString(err.Error()) {
					t.Errorf("%s of %s: %v", key, id, err)
				}
			}
		}
	}
	if tested < 80 {
		t.Errorf("%d values were tried: are the ranges found?", tested)
	}
}
