package mattermosttest

import "net/http"

// Health is how a node, its file store or the database is.
type Health int32

// Healthy is how everything begins.
const (
	Healthy Health = iota
	Unhealthy
)

func (h Health) String() string {
	if h == Healthy {
		return "OK"
	}
	return "UNHEALTHY"
}

// SetHealth says how the node itself is, which every ping tells.
func (m *Handler) SetHealth(h Health) { m.health.Store(int32(h)) }

// SetFileStore says how the file store is, which a ping tells that asks for
// the server's status. Nothing else depends on it.
func (m *Handler) SetFileStore(h Health) { m.fileStore.Store(int32(h)) }

// SetHealth says how the database is, which a ping of any node tells that asks
// for the server's status. Nothing else depends on it.
func (d *Database) SetHealth(h Health) { d.health.Store(int32(h)) }

// ping answers GET /api/v4/system/ping. Only the server's status looks at the
// database; REST semantics mean that the status is 200 whatever the body says.
func (m *Handler) ping(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	health := Health(m.health.Load())
	body := map[string]string{
		"ActiveSearchBackend":  "database",
		"AndroidLatestVersion": "",
		"AndroidMinVersion":    "",
		"IosLatestVersion":     "",
		"IosMinVersion":        "",
	}
	if query.Get("get_server_status") == "true" {
		health = m.serverStatus(w, body)
	}
	if query.Get("device_id") != "" {
		body["CanReceiveNotifications"] = "unknown"
	}
	body["status"] = health.String()
	status := http.StatusOK
	if health != Healthy && query.Get("use_rest_semantics") != "true" {
		status = http.StatusInternalServerError
	}
	answer(w, status, body)
}

// serverStatus adds the parts to body and headers and returns the worst.
func (m *Handler) serverStatus(w http.ResponseWriter, body map[string]string) Health {
	database, files := Health(m.cfg.Database.health.Load()), Health(m.fileStore.Load())
	health := max(Health(m.health.Load()), database, files)
	body["database_status"], body["filestore_status"] = database.String(), files.String()
	w.Header().Set("status", health.String())
	w.Header().Set("database_status", database.String())
	w.Header().Set("filestore_status", files.String())
	return health
}
