package admin

import "time"

// The paths of the control socket. Only these exact paths are served.
const (
	pathStatus      = "/v1/status"
	pathConnections = "/v1/connections"
	pathClose       = "/v1/connections/close"
	pathDrain       = "/v1/drain"
	pathUndrain     = "/v1/undrain"
	pathReload      = "/v1/reload"
	pathUpgrade     = "/v1/upgrade"
)

// Report is the answer to GET /v1/status.
type Report struct {
	Version     string           `json:"version"`
	PID         int              `json:"pid"`
	Started     time.Time        `json:"started"`
	Draining    bool             `json:"draining"`
	Connections int64            `json:"connections"`
	Limit       int64            `json:"connections_limit"`
	Buffered    int64            `json:"buffered_bytes"`
	Listeners   []ListenerReport `json:"listeners"`
	Pools       []PoolReport     `json:"pools"`
}

// ListenerReport is one listener.
type ListenerReport struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Accepted uint64 `json:"accepted"`
	Active   int64  `json:"active"`
	Rejected uint64 `json:"rejected"`
}

// PoolReport is one pool.
type PoolReport struct {
	Name    string         `json:"name"`
	Panics  bool           `json:"panics"`
	Servers []ServerReport `json:"servers"`
}

// ServerReport is one server.
type ServerReport struct {
	Name        string            `json:"name"`
	Address     string            `json:"address"`
	State       string            `json:"state"`           // "on", "backup", or the reason why it gets no new connections
	Check       string            `json:"check,omitempty"` // result of the last health check, and the reason of an ejection
	Active      int64             `json:"active"`
	Connections uint64            `json:"connections"`
	BytesUp     uint64            `json:"bytes_up"`
	BytesDown   uint64            `json:"bytes_down"`
	Failures    map[string]uint64 `json:"failures,omitempty"` // failed attempts, by reason
	Failovers   uint64            `json:"failovers"`
}

// ConnectionReport is one connection in the answer to GET /v1/connections.
type ConnectionReport struct {
	ID         uint64    `json:"id"`
	Client     string    `json:"client"`
	Listener   string    `json:"listener"`
	ServerName string    `json:"server_name"`
	ALPN       string    `json:"alpn,omitempty"`
	Route      string    `json:"route,omitempty"`
	Pool       string    `json:"pool,omitempty"`
	Server     string    `json:"server,omitempty"`
	Start      time.Time `json:"start"`
	Idle       float64   `json:"idle_seconds"`
	BytesUp    uint64    `json:"bytes_up"`
	BytesDown  uint64    `json:"bytes_down"`
}

// ConnectionList is the answer to GET /v1/connections.
type ConnectionList struct {
	Connections []ConnectionReport `json:"connections"` // the newest first
	Total       int                `json:"total"`       // number of matching connections, listed or not
}

// Filter selects the connections that match every field that is set. The zero
// value matches all connections.
type Filter struct {
	IDs        []uint64 `json:"ids,omitempty"`
	Client     string   `json:"client,omitempty"` // an address or a prefix
	ServerName string   `json:"server_name,omitempty"`
	Listener   string   `json:"listener,omitempty"`
	Route      string   `json:"route,omitempty"`
	Pool       string   `json:"pool,omitempty"`
	Server     string   `json:"server,omitempty"`
	MinIdle    float64  `json:"min_idle_seconds,omitempty"`
	MinAge     float64  `json:"min_age_seconds,omitempty"`
}

// Pace limits how fast connections are closed. The zero value closes all at
// once.
type Pace struct {
	PerSecond   float64 `json:"per_second,omitempty"`
	Within      float64 `json:"within_seconds,omitempty"`
	OldestFirst bool    `json:"oldest_first,omitempty"`
}

// CloseRequest is the body of POST /v1/connections/close. A filter without any
// field is refused.
type CloseRequest struct {
	Filter
	Pace
}

// DrainRequest is the body of POST /v1/drain and /v1/undrain.
type DrainRequest struct {
	Server string `json:"server"`          // "pool/server", or the name or address of a server if it is unique
	Close  bool   `json:"close,omitempty"` // also close the server's connections, at the Pace
	Pace
}

// Done is the answer to a successful POST.
type Done struct {
	Message     string `json:"message"`
	Pool        string `json:"pool,omitempty"`
	Server      string `json:"server,omitempty"`
	Connections int    `json:"connections"` // number of connections affected
	Warning     string `json:"warning,omitempty"`
}

// Failure is the answer to a request that failed.
type Failure struct {
	Error string `json:"error"`
}
