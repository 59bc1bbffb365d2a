package mattermosttest

import (
	"net/http"
	"testing"
)

func TestPing(t *testing.T) {
	const path = "GET /api/v4/system/ping"
	for _, tt := range []struct {
		name                  string
		request               string
		node, files, database Health
		status                int
		want                  map[string]string // of the body; "" means absent
		headers               bool              // whether the parts are in headers too
	}{
		{name: "healthy", request: path, status: 200, want: map[string]string{"status": "OK", "database_status": "", "filestore_status": ""}},
		{name: "unhealthy", request: path, node: Unhealthy, status: 500, want: map[string]string{"status": "UNHEALTHY"}},
		{name: "unhealthy with REST semantics", request: path + "?use_rest_semantics=true", node: Unhealthy, status: 200, want: map[string]string{"status": "UNHEALTHY"}},
		{name: "database down goes unnoticed", request: path, database: Unhealthy, status: 200, want: map[string]string{"status": "OK"}},
		{name: "file store down goes unnoticed", request: path, files: Unhealthy, status: 200, want: map[string]string{"status": "OK"}},
		{name: "server status", request: path + "?get_server_status=true", status: 200, headers: true, want: map[string]string{"status": "OK", "database_status": "OK", "filestore_status": "OK"}},
		{name: "server status, database down", request: path + "?get_server_status=true", database: Unhealthy, status: 500, headers: true, want: map[string]string{"status": "UNHEALTHY", "database_status": "UNHEALTHY", "filestore_status": "OK"}},
		{name: "server status, file store down", request: path + "?get_server_status=true", files: Unhealthy, status: 500, headers: true, want: map[string]string{"status": "UNHEALTHY", "database_status": "OK", "filestore_status": "UNHEALTHY"}},
		{name: "server status with REST semantics", request: path + "?get_server_status=true&use_rest_semantics=true", database: Unhealthy, status: 200, headers: true, want: map[string]string{"status": "UNHEALTHY"}},
		{name: "device", request: path + "?device_id=x", status: 200, want: map[string]string{"CanReceiveNotifications": "unknown"}},
		{name: "no device", request: path, status: 200, want: map[string]string{"CanReceiveNotifications": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newNode(t, Config{})
			m.SetHealth(tt.node)
			m.SetFileStore(tt.files)
			m.cfg.Database.SetHealth(tt.database)
			resp := send(t, m, tt.request, "")
			check(t, "status", resp.StatusCode, tt.status)
			body := decodeBody[map[string]string](t, resp)
			for key, want := range tt.want {
				check(t, key, body[key], want)
			}
			for _, key := range []string{"ActiveSearchBackend", "AndroidLatestVersion", "AndroidMinVersion", "IosLatestVersion", "IosMinVersion"} {
				if _, ok := body[key]; !ok {
					t.Errorf("no key %s", key)
				}
			}
			for _, key := range []string{"status", "database_status", "filestore_status"} {
				want := ""
				if tt.headers {
					want = body[key]
				}
				check(t, "header "+key, resp.Header.Get(key), want)
			}
		})
	}
}

func TestPingIsNotRoutedForHead(t *testing.T) {
	resp := send(t, newNode(t, Config{}), "HEAD /api/v4/system/ping", "")
	check(t, "status", resp.StatusCode, http.StatusNotFound)
}

func TestDatabaseFailsAllNodesNodeHealthOne(t *testing.T) {
	db := &Database{}
	a, b := newNode(t, Config{Database: db}), newNode(t, Config{Database: db})
	a.SetHealth(Unhealthy)
	check(t, "a unhealthy", send(t, a, "GET /api/v4/system/ping", "").StatusCode, 500)
	check(t, "b healthy", send(t, b, "GET /api/v4/system/ping", "").StatusCode, 200)
	db.SetHealth(Unhealthy)
	check(t, "b without database", send(t, b, "GET /api/v4/system/ping?get_server_status=true", "").StatusCode, 500)
	db.SetHealth(Healthy)
	check(t, "b with database", send(t, b, "GET /api/v4/system/ping?get_server_status=true", "").StatusCode, 200)
}
