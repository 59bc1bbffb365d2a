package mattermosttest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxProviderAnswer bounds what is read of the provider's answers, in bytes.
const maxProviderAnswer = 1 << 20

// exchange turns the provider's code into a user. The redirect_uri it sends is
// that of the request that brought the code, so a proxy that changed its Host
// or scheme makes the provider refuse.
func (m *Handler) exchange(ctx context.Context, service, base, code string) (User, error) {
	token, err := m.accessToken(ctx, url.Values{
		"client_id":     {m.cfg.GitLab.ID},
		"client_secret": {m.cfg.GitLab.Secret},
		"code":          {code},
		"grant_type":    {"authorization_code"},
		"redirect_uri":  {base + "/signup/" + service + "/complete"},
	})
	if err != nil {
		return User{}, err
	}
	user, err := m.profile(ctx, service, token)
	if err != nil {
		return User{}, err
	}
	user, ok := m.cfg.Database.ssoUser(user)
	if !ok {
		return User{}, refuse(http.StatusBadRequest, "api.user.create_oauth_user.already_attached.app_error")
	}
	return user, nil
}

func (m *Handler) accessToken(ctx context.Context, form url.Values) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.cfg.GitLab.TokenEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("token endpoint: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var body struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}
	if err := m.ask(req, &body); err != nil {
		return "", refuse(http.StatusInternalServerError, "api.user.authorize_oauth_user.bad_response.app_error")
	}
	if !strings.EqualFold(body.TokenType, "bearer") {
		return "", refuse(http.StatusInternalServerError, "api.user.authorize_oauth_user.bad_token.app_error")
	}
	if body.AccessToken == "" {
		return "", refuse(http.StatusInternalServerError, "api.user.authorize_oauth_user.missing.app_error")
	}
	return body.AccessToken, nil
}

// profile asks who the token is for. An id of 0 or no e-mail is nobody.
func (m *Handler) profile(ctx context.Context, service, token string) (User, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.cfg.GitLab.UserAPIEndpoint, nil)
	if err != nil {
		return User{}, fmt.Errorf("user endpoint: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	var p Profile
	if err := m.ask(req, &p); err != nil {
		return User{}, refuse(http.StatusInternalServerError, "api.user.authorize_oauth_user.response.app_error")
	}
	if p.ID == 0 || p.Email == "" {
		return User{}, refuse(http.StatusInternalServerError, "api.user.login_by_oauth.parse.app_error")
	}
	return User{
		Username: cmp.Or(p.Username, p.Login), Email: strings.ToLower(p.Email), Name: p.Name,
		Service: service, authData: strconv.FormatInt(p.ID, 10),
	}, nil
}

// ask sends a request to the provider, whose answer has to be 200 and JSON.
func (m *Handler) ask(req *http.Request, v any) error {
	req.Header.Set("Accept", "application/json")
	resp, err := m.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("provider answered %s", resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxProviderAnswer)).Decode(v)
}
