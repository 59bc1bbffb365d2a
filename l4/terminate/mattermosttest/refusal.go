package mattermosttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
)

// refusal is an answer that is not what was asked for. Its id says why.
type refusal struct {
	Status int
	ID     string
}

func refuse(status int, id string) error { return &refusal{status, id} }

func (e *refusal) Error() string { return fmt.Sprintf("%d %s", e.Status, e.ID) }

// asRefusal makes other errors a 500.
func asRefusal(err error) *refusal {
	var e *refusal
	if errors.As(err, &e) {
		return e
	}
	return &refusal{http.StatusInternalServerError, err.Error()}
}

// fail answers an API request.
func fail(w http.ResponseWriter, err error) {
	e := asRefusal(err)
	answer(w, e.Status, map[string]any{
		"id": e.ID, "message": e.ID, "detailed_error": "",
		"request_id": w.Header().Get("X-Request-Id"), "status_code": e.Status,
	})
}

// failPage answers a browser, with a page that takes it to the error page.
func (m *Handler) failPage(w http.ResponseWriter, err error) {
	e := asRefusal(err)
	link := html.EscapeString(m.base + "/error?" + url.Values{"message": {e.ID}}.Encode())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(e.Status)
	fmt.Fprintf(w, "<!DOCTYPE html><meta http-equiv=\"refresh\" content=\"0; url=%s\"><a href=\"%s\">%s</a>\n", link, link, html.EscapeString(e.ID))
}

// answer writes v as JSON. A client that is gone is no concern of ours.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
