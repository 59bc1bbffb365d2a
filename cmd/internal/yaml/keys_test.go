package yaml

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The places in a small file where a test puts its keys, beside those that
// messages name in the same way.
const (
	inLTimeouts = inListenerTimeouts
	inPTimeouts = inPoolTimeouts
	inHTTPTimes = inHTTPTimeouts
	inPair      = inKeyPair
	inHealth    = "health"
	inEject     = "eject"
	inSessions  = "sessions"
	inTCP       = "tcp"
	inKeepalive = "keepalive"
	inAdmin     = "admin"
	inLog       = "log"
	inLimits    = "limits"
	inNotify    = "notify"
	inDNS       = "dns"
	inTerminate = "terminate"
	inPreauth   = "preauth"
	inClients   = "client_certificates"
	inEncrypt   = "encrypt"
	inACME      = "acme"
)

// fileWith returns a file with text, keys in flow style, in one place.
func fileWith(where, text string) string {
	listener, server, pool, rest := "", "", "", ""
	switch where {
	case inListener:
		listener = text
	case inLTimeouts:
		listener = "timeouts: {" + text + "}, proxy_protocol: 10.0.0.0/8"
	case inTCP:
		listener = "tcp: {" + text + "}"
	case inKeepalive:
		listener = "tcp: {keepalive: {" + text + "}}"
	case inRoute:
		listener = "routes: [{" + text + "}]"
	case inTerminate, inPair, inHTTPTimes, inPreauth, inExempt, inClients, inEncrypt, inACME:
		listener = "routes: [{server_name: a.example, pool: p, terminate: {" + terminateWith(where, text) + "}}]"
	case inServer:
		server = text
	case inPool:
		pool = text
	case inPTimeouts:
		pool = "timeouts: {" + text + "}"
	case inHealth:
		pool = "health: {" + with(text, "check: https") + "}"
	case inEject, inSessions:
		pool = where + ": {" + text + "}"
	case inFile:
		rest = text
	default:
		rest = where + ": {" + text + "}"
	}
	listener = with(with(listener, "default: p", "pool:", "redirect:"), "address: ':443'")
	server = with(server, "address: '10.0.0.1:443'")
	pool = with(pool, "servers: [{"+server+"}, '10.0.0.9:443']")
	return "listeners: [{" + listener + "}]\npools: {p: {" + pool + "}}\n" + rest + "\n"
}

// with adds an entry to keys that do not have its key, nor start with others.
func with(keys, entry string, others ...string) string {
	key, _, _ := strings.Cut(entry, ":")
	if strings.Contains(keys, ", "+key+":") {
		return keys
	}
	for _, k := range append(others, key+":") {
		if strings.HasPrefix(keys, k) {
			return keys
		}
	}
	return strings.Trim(keys+", "+entry, ", ")
}

// An effect is a key, or several, and where it ends up.
type effect struct {
	where, text string
	get         func(loaded) any
	want        any
}

// allEffects sets every key of the schema.
func allEffects() []effect {
	return slices.Concat(fileEffects, listenerEffects, routeEffects, poolEffects, sessionEffects, serverEffects, healthEffects, ejectEffects, terminateEffects())
}

func TestEveryKeyHasItsEffect(t *testing.T) {
	for _, tt := range allEffects() {
		t.Run(tt.where+" "+tt.text, func(t *testing.T) {
			got := tt.get(load(t, fileWith(tt.where, tt.text)))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestNoKeyIsUntested asks each part of the file for its keys, by a key that
// does not exist, and looks for them in the table.
func TestNoKeyIsUntested(t *testing.T) {
	tested := map[string]bool{}
	parts := map[string]bool{}
	for _, e := range allEffects() {
		key, _, _ := strings.Cut(e.text, ":")
		tested[e.where+" "+key] = true
		parts[e.where] = true
	}
	for where := range maps.Keys(parts) {
		err := parseErr(fileWith(where, "zzzzzzzzzzzz: 1"))
		if err == nil {
			t.Fatalf("%s takes any key", where)
		}
		_, all, ok := strings.Cut(err.Error(), ", expected ")
		if !ok {
			t.Fatalf("no list of keys in %v", err)
		}
		all, _, _ = strings.Cut(all, "\n")
		for _, key := range strings.Split(strings.ReplaceAll(all, " or ", ", "), ", ") {
			if !tested[where+" "+key] && key != "listeners" && key != "pools" {
				t.Errorf("no test sets %s in %s", key, where)
			}
		}
	}
}
