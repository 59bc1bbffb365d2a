package config

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"culvert/health"
)

// words are texts that mean something in one place or another, and some that
// mean nothing anywhere.
var words = []string{
	"", "p", "q", "reject", "close", ":443", "[::1]:443", "10.0.0.1:443", "10.0.0.1:0", "host.example:443", "srv:_a._tcp.example", "srv:", "unix:/run/a",
	"*.example.com", "~(", "~^a$", "a.example", "https://a.example/x", "http://", "%", "h2", "two words", "\x00", "/dev/null", "/none", "tcp", "mattermost",
	"https", "http", "client-address", "round-robin", "maglev", "nginx-hash", "gitlab", "GET", "HEAD", "/x", "X-A*", "stdout", "é\xff",
}

var numbers = []int64{0, 0, 1, -1, 2, 7, 443, 65536, 1 << 20, 1 << 40, math.MaxInt64, math.MinInt64, int64(time.Second), int64(time.Hour)}

var decimals = []float64{0, 1, -1, 0.5, 2.5, math.NaN(), math.Inf(1), math.Inf(-1), 1e300}

// garbage fills v, whatever it is, with values that may be wrong.
func garbage(r *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(words[r.IntN(len(words))])
	case reflect.Bool:
		v.SetBool(r.IntN(4) == 0)
	case reflect.Int, reflect.Int64:
		v.SetInt(numbers[r.IntN(len(numbers))])
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(uint64(r.IntN(5)))
	case reflect.Float64:
		v.SetFloat(decimals[r.IntN(len(decimals))])
	case reflect.Pointer:
		if depth > 0 && r.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			garbage(r, v.Elem(), depth-1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(4), 4))
		for i := range v.Len() {
			garbage(r, v.Index(i), depth-1)
		}
	case reflect.Map:
		if r.IntN(3) == 0 {
			v.Set(reflect.ValueOf(map[string]Place{"pool": {}, "action": {Key: Position{"f", 1, 1}}}))
		}
	case reflect.Struct:
		garbageStruct(r, v, depth)
	default:
		panic(fmt.Sprintf("no garbage for %s", v.Type()))
	}
}

func garbageStruct(r *rand.Rand, v reflect.Value, depth int) {
	switch v.Type() {
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf([]netip.Addr{{}, netip.IPv6Unspecified(), netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")}[r.IntN(4)]))
	case reflect.TypeFor[netip.AddrPort]():
		v.Set(reflect.ValueOf([]netip.AddrPort{{}, netip.MustParseAddrPort("10.0.0.1:0"), netip.MustParseAddrPort("10.0.0.1:53")}[r.IntN(3)]))
	case reflect.TypeFor[netip.Prefix]():
		v.Set(reflect.ValueOf([]netip.Prefix{{}, netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("::ffff:10.0.0.0/104")}[r.IntN(3)]))
	default:
		for i := range v.NumField() {
			garbage(r, v.Field(i), depth)
		}
	}
}

// TestGarbageNeverPanics: whatever a caller fills in, Check and Unresolved
// return, and what Check accepts can be built.
func TestGarbageNeverPanics(t *testing.T) {
	for seed := range uint64(1000) {
		c := &Config{}
		garbage(rand.New(rand.NewPCG(seed, 0)), reflect.ValueOf(c).Elem(), 5)
		checkGarbage(t, seed, c)
	}
}

// TestOneWrongValue: a configuration that is right but for one value is built,
// or Check says what is wrong with it.
func TestOneWrongValue(t *testing.T) {
	built := 0
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := rich()
		all := leaves(reflect.ValueOf(c).Elem(), false)
		garbage(r, all[r.IntN(len(all))], 0)
		if checkGarbage(t, seed, c) {
			built++
		}
	}
	if built < 100 || built > 900 {
		t.Errorf("%d of 1000 were accepted: the values are not of both kinds", built)
	}
}

// rich returns a configuration that is right and has something of most parts.
func rich() *Config {
	c := good()
	p := c.Pools[0]
	p.Health, p.Ejection = &Health{Check: CheckHTTPS, ServerName: "a", Status: []health.StatusRange{{Low: 200, High: 299}}}, &Ejection{}
	c.Listeners = append(c.Listeners, &Listener{Address: "unix:/run/a", Pool: To("p"), ProxyProtocol: &ProxyProtocol{}}, &Listener{Address: ":80", Redirect: 443})
	x := c.Listeners[0].Routes[0].Terminate
	x.Preauth = &Preauth{SecretsFile: termFile("secrets"), Presets: Texts("always"), Exempt: []*ExemptPath{{Path: "/x"}}}
	x.Clients = &ClientCertificates{CA: termFile("cert.pem")}
	x.Encrypt = &Encrypt{Identity: goodPair()}
	return c
}

// checkGarbage reports whether c was accepted.
func checkGarbage(t *testing.T, seed uint64, c *Config) bool {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("seed %d: %v", seed, r)
		}
	}()
	errs, _ := c.Check()
	_, err := c.Unresolved()
	b, buildErr := c.Build(t.Context(), zone{})
	if len(errs) == 0 && err != nil {
		t.Errorf("seed %d: accepted, but cannot be built: %v", seed, err)
	}
	if len(errs) == 0 && buildErr != nil && len(c.hosts()) == 0 {
		t.Errorf("seed %d: accepted, but not built: %v", seed, buildErr)
	}
	if buildErr == nil {
		b.Sites()
	}
	c.Counts()
	c.Transparent()
	c.Drain()
	return len(errs) == 0
}

// TestNilEverywhere: every pointer and list of a configuration can be empty.
func TestNilEverywhere(t *testing.T) {
	for name, c := range map[string]*Config{
		"empty":       {},
		"nil entries": {Listeners: []*Listener{nil}, Pools: []*Pool{nil}},
		"empty ones":  {Listeners: []*Listener{{}}, Pools: []*Pool{{}}},
		"nil below":   {Listeners: []*Listener{{Routes: []*Route{nil}}}, Pools: []*Pool{{Servers: []*Server{nil}}}},
		"empty below": {
			Listeners: []*Listener{{ProxyProtocol: &ProxyProtocol{}, Routes: []*Route{{Terminate: &Terminate{
				Certificates: []*KeyPair{nil, {}}, ACME: &ACME{}, Preauth: &Preauth{Exempt: []*ExemptPath{nil, {}}}, Clients: &ClientCertificates{},
				Encrypt: &Encrypt{Identity: &KeyPair{}},
			}}}}},
			Pools: []*Pool{{Servers: []*Server{{}}, Health: &Health{}, Ejection: &Ejection{}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if errs, _ := c.Check(); len(errs) == 0 {
				t.Error("nothing is wrong with it")
			}
			_, _ = c.Unresolved()
			_, _ = c.Build(t.Context(), zone{})
		})
	}
}
