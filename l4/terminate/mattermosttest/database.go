package mattermosttest

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Database. Over one, an arbitrary entry makes room.
const (
	maxSessions = 100_000
	maxStates   = 10_000
)

// Database is what the nodes of a cluster share: users, sessions and the
// states of single sign-on under way. The zero value is empty and healthy. Its
// methods are for concurrent use.
type Database struct {
	health atomic.Int32

	mu       sync.Mutex
	users    []User
	sessions map[string]session // by token
	states   map[string]state   // by token
}

// User is a user of the server.
type User struct {
	ID       string `json:"id"` // AddUser chooses one
	Username string `json:"username"`
	Email    string `json:"email"`
	Name     string `json:"nickname"`
	Service  string `json:"auth_service"` // "" with a password, else as in /oauth/<service>
	Bot      bool   `json:"is_bot"`
	Password string `json:"-"`

	authData string // id at the service
}

type session struct {
	user    User
	csrf    string
	expires time.Time
}

// state is single sign-on under way.
type state struct {
	bound   string // to the action and the cookie
	expires time.Time
}

// AddUser adds u and returns its id.
func (d *Database) AddUser(u User) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addUser(u).ID
}

func (d *Database) addUser(u User) User {
	u.ID = newID()
	d.users = append(d.users, u)
	return u
}

// userByLogin finds a user by name or e-mail, whatever the case.
func (d *Database) userByLogin(login string) (User, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.find(func(u User) bool {
		return login != "" && (strings.EqualFold(u.Email, login) || strings.EqualFold(u.Username, login))
	})
}

func (d *Database) find(match func(User) bool) (User, bool) {
	for _, u := range d.users {
		if match(u) {
			return u, true
		}
	}
	return User{}, false
}

// ssoUser returns the user a service knows as u.authData, u itself if there is
// none yet. ok is false if the e-mail belongs to somebody else.
func (d *Database) ssoUser(u User) (_ User, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.find(func(k User) bool { return k.Service == u.Service && k.authData == u.authData }); ok {
		return known, true
	}
	if _, taken := d.find(func(k User) bool { return strings.EqualFold(k.Email, u.Email) }); taken {
		return User{}, false
	}
	return d.addUser(u), true
}

func (d *Database) addSession(s session) (token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	token = newID()
	put(&d.sessions, token, s, maxSessions)
	return token
}

func (d *Database) session(token string, now time.Time) (session, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sessions[token]
	return s, ok && now.Before(s.expires)
}

func (d *Database) addState(s state) (token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	token = newID()
	put(&d.states, token, s, maxStates)
	return token
}

// takeState returns a state once.
func (d *Database) takeState(token string, now time.Time) (state, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.states[token]
	delete(d.states, token)
	return s, ok && now.Before(s.expires)
}

// put adds to a map that never has more than limit entries.
func put[V any](m *map[string]V, key string, value V, limit int) {
	if *m == nil {
		*m = map[string]V{}
	}
	for old := range *m {
		if len(*m) < limit {
			break
		}
		delete(*m, old)
	}
	(*m)[key] = value
}
