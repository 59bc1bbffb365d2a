// Package standin is a stand-in for what culvert terminates TLS for: the nodes
// of a Mattermost cluster, and the OAuth provider their users log in with.
// Tests, benchmarks and demonstrations put it where the real ones would be.
//
// [Mattermost] answers as the server does wherever a proxy can break it: the
// health check, sessions and their cookies, login with the headers of a client
// certificate, single sign-on through the GitLab settings, WebSockets, uploads
// and downloads, path cleaning, and a SiteURL with a subpath. [Provider] is
// strict about redirect_uri, which is what a wrong Host or scheme breaks.
// [StartCluster] and [Serve] put them on loopback listeners.
//
// It is not Mattermost: there are no teams, channels or posts, uploads are
// hashed and forgotten, and files may be sent and fetched without a login.
// There is no CSRF check, no rate limiter, no SAML and no gossip; the nodes of
// a cluster share a [Database] in memory. Nothing in it is fit for the
// internet: passwords are compared in the clear.
package standin
