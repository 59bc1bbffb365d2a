package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"culvert/l4"
)

// How many connections one answer lists.
const (
	defaultListed = 100
	maxListed     = 20_000
)

// Bounds of values in a request.
const (
	maxSeconds = 366 * 24 * 3600
	minRate    = 0.001 // connections a second
)

// Match returns a function that reports whether f matches a connection. The
// function is fast enough to be called by event loops. Match fails if a field
// of f is invalid.
func (f Filter) Match() (func(*l4.Connection) bool, error) {
	prefix, err := f.prefix()
	switch {
	case err != nil:
		return nil, err
	case f.IDs != nil && len(f.IDs) == 0:
		return nil, errors.New("an empty list of ids matches no connection: leave it out or add ids")
	case !(f.MinIdle >= 0 && f.MinIdle <= maxSeconds) || !(f.MinAge >= 0 && f.MinAge <= maxSeconds):
		return nil, errors.New("a time must be from 0 to a year, in seconds")
	}
	idle, age, now := seconds(f.MinIdle), seconds(f.MinAge), time.Now()
	ids := slices.Sorted(slices.Values(f.IDs))
	return func(c *l4.Connection) bool {
		if len(ids) > 0 {
			if _, found := slices.BinarySearch(ids, c.ID); !found {
				return false
			}
		}
		return (!prefix.IsValid() || prefix.Contains(c.Client.Addr())) &&
			(f.ServerName == "" || f.ServerName == c.ServerName) &&
			(f.Listener == "" || f.Listener == c.Listener) &&
			(f.Route == "" || f.Route == c.Route) &&
			(f.Pool == "" || f.Pool == c.Pool) &&
			(f.Server == "" || f.Server == c.Server) &&
			c.Idle >= idle && now.Sub(c.Start) >= age
	}, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// prefix returns the addresses that Client matches, or the zero Prefix for all.
func (f Filter) prefix() (netip.Prefix, error) {
	if f.Client == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(f.Client); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(f.Client)
	if err != nil {
		return p, fmt.Errorf("client %q: expected an IP address or a prefix, such as 10.0.0.0/8", f.Client)
	}
	return p.Masked(), nil
}

// all reports whether f matches every connection.
func (f Filter) all() bool { return reflect.ValueOf(f).IsZero() }

// L4 converts the pace for package l4. It fails if a field is out of range or
// both a rate and a time are given.
func (p Pace) L4() (l4.Pace, error) {
	if !(p.PerSecond == 0 || p.PerSecond >= minRate) || !(p.Within >= 0 && p.Within <= maxSeconds) {
		return l4.Pace{}, errors.New("a pace must be at least one connection in 1000 s, or a time of at most a year")
	}
	if p.PerSecond > 0 && p.Within > 0 {
		return l4.Pace{}, errors.New("a rate and a time exclude each other: give one")
	}
	return l4.Pace{PerSecond: p.PerSecond, Within: seconds(p.Within), OldestFirst: p.OldestFirst}, nil
}

// closer returns op.Close with a check that the filter is not empty: a filter
// left out by mistake must not close every connection.
func closer(op Operator) func(CloseRequest) (Done, error) {
	return func(c CloseRequest) (Done, error) {
		if c.Filter.all() {
			return Done{}, errors.New("say which connections: an empty filter would match all of them")
		}
		return op.Close(c)
	}
}

// list answers GET /v1/connections.
func list(op Operator, r *http.Request) (any, error) {
	f, limit, err := filterOf(r.URL.Query())
	if err != nil {
		return nil, err
	}
	all, err := op.List(f)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b ConnectionReport) int { return b.Start.Compare(a.Start) })
	return ConnectionList{Connections: all[:min(limit, len(all))], Total: len(all)}, nil
}

// filterOf parses a query. An unknown parameter is an error.
func filterOf(q url.Values) (f Filter, limit int, err error) {
	limit = defaultListed
	for key, values := range q {
		v := values[0]
		number := func(v string) float64 {
			n, e := strconv.ParseFloat(v, 64)
			if e != nil {
				err = fmt.Errorf("%s %q: expected a number", key, v)
			}
			return n
		}
		switch key {
		case "client":
			f.Client = v
		case "server_name":
			f.ServerName = v
		case "listener":
			f.Listener = v
		case "route":
			f.Route = v
		case "pool":
			f.Pool = v
		case "server":
			f.Server = v
		case "min_idle_seconds":
			f.MinIdle = number(v)
		case "min_age_seconds":
			f.MinAge = number(v)
		case "limit":
			limit = int(min(max(number(v), 0), maxListed))
		default:
			err = fmt.Errorf("unknown parameter %q", key)
		}
	}
	return f, limit, err
}

// query is the reverse of filterOf.
func (f Filter) query(limit int) url.Values {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	set := func(key, v string) {
		if v != "" && v != "0" {
			q.Set(key, v)
		}
	}
	set("client", f.Client)
	set("server_name", f.ServerName)
	set("listener", f.Listener)
	set("route", f.Route)
	set("pool", f.Pool)
	set("server", f.Server)
	set("min_idle_seconds", strconv.FormatFloat(f.MinIdle, 'g', -1, 64))
	set("min_age_seconds", strconv.FormatFloat(f.MinAge, 'g', -1, 64))
	return q
}

// explained rewrites an error of package json without the names of Go types.
func explained(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	what := "another type"
	switch wrong.Type.Kind() {
	case reflect.Float64:
		what = "a number"
	case reflect.Uint64:
		what = "a whole number"
	case reflect.String:
		what = "a text"
	case reflect.Bool:
		what = "true or false"
	case reflect.Slice:
		what = "a list"
	case reflect.Struct:
		what = "an object"
	}
	key := wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:] // without the names of Go's types
	return fmt.Errorf("%s: found a %s, expected %s", cmp.Or(key, "the whole value"), wrong.Value, what)
}

// decodeStrictly decodes exactly one JSON value and rejects unknown keys.
func decodeStrictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("the body: %w", explained(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the body: more than one value")
	}
	return nil
}
