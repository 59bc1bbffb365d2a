// Package mattermosttest imitates what culvert terminates TLS for, in the way of
// net/http/httptest: the nodes of a Mattermost cluster, and the OAuth provider
// that their users log in with. Only tests may import it.
//
// [Handler] answers as a Mattermost server does wherever a proxy can break it:
// the health check, sessions and their cookies, login with the headers of a
// client certificate, single sign-on through the GitLab settings, WebSockets,
// uploads and downloads, path cleaning, and a SiteURL with a subpath.
// [Provider] compares redirect_uri strictly, because a wrong Host or scheme
// shows there. [NewNode], [NewCluster] and [NewServer] listen on loopback.
//
// Status codes, error ids, cookies, limits and timeouts are those of the source
// of Mattermost's server 9.9 (mattermost/mattermost, server/ at 4bdd8bb18e47);
// path cleaning is that of gorilla/mux 1.8.1, and the refusal to start with
// certificate login from version 11 on is that of mattermost#33751. Comments
// say where an answer differs.
//
// It has no teams, channels or posts; it hashes uploads and forgets them, and
// serves files without a login. It has no CSRF check, no rate limiter, no SAML
// and no gossip; the nodes of a cluster share a [Database] in memory. It
// compares passwords in the clear and must not be reachable from the internet.
package mattermosttest
