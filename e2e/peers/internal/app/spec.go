// Package app is the recipient's application: it calls through the sidecar with Go's own client, and tells the test
// what it got, when, and what it can reach of its own pod. It knows nothing of Keylend but its refusal header.
package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"keylend.dev/e2e/peers/internal/trace"
)

// A Spec is how to make one call.
type Spec struct {
	// URL may begin with $KEYLEND_URL; one that begins with "/" is below it.
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Headers map[string]Values `json:"headers"`

	// One of these is the body; BodySize sends so many bytes of a fixed pattern.
	Body       string `json:"body"`
	BodyBase64 string `json:"body_base64"`
	BodySize   int64  `json:"body_size"`
	// Chunked hides the body's length from the client, which then sends it chunked.
	Chunked bool `json:"chunked"`

	// DeadlineMs bounds one call, 30 s unless told.
	DeadlineMs int `json:"deadline_ms"`
	// Untraced leaves out the traceparent that each call otherwise gets, a fresh one.
	Untraced bool `json:"untraced"`

	IncludeBody    bool  `json:"include_body"`
	IncludeHeaders bool  `json:"include_headers"`
	BodyLimit      int64 `json:"body_limit"` // of what is included: 64 KiB unless told

	OneConnectionEach  bool `json:"one_connection_each"`
	FollowRedirects    bool `json:"follow_redirects"`
	DisableCompression bool `json:"disable_compression"`

	// For calls past the sidecar.
	Dial       string `json:"dial"`        // host:port to connect to, whatever the URL says
	ServerName string `json:"server_name"` // TLS name to ask for and verify
	CAPEM      string `json:"ca_pem"`
	Insecure   bool   `json:"insecure"`
	HTTP2      bool   `json:"http2"` // offer it
}

const (
	defaultDeadline  = 30 * time.Second
	longestDeadline  = 15 * time.Minute
	defaultBodyLimit = 64 << 10
	mostBodyIncluded = 16 << 20
	mostBodySent     = 4 << 30
)

// Values is one text or a list of them in JSON.
type Values []string

// UnmarshalJSON implements json.Unmarshaler.
func (v *Values) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*v = Values{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(v))
}

// resolve completes the URL from the environment, as an application would.
func resolve(url string) string {
	base := os.Getenv("KEYLEND_URL")
	if rest, has := strings.CutPrefix(url, "$KEYLEND_URL"); has {
		return base + rest
	}
	if strings.HasPrefix(url, "/") {
		return base + url
	}
	return url
}

func (s *Spec) check() error {
	if s.URL == "" {
		return errors.New("url is missing")
	}
	given := 0
	for _, has := range []bool{s.Body != "", s.BodyBase64 != "", s.BodySize != 0} {
		if has {
			given++
		}
	}
	if given > 1 {
		return errors.New("give one of body, body_base64 and body_size")
	}
	if s.BodySize < 0 || s.BodySize > mostBodySent {
		return errors.New("body_size is out of range")
	}
	if _, err := base64.StdEncoding.DecodeString(s.BodyBase64); err != nil {
		return err
	}
	_, err := s.request(context.Background())
	return err
}

func (s *Spec) deadline() time.Duration {
	if s.DeadlineMs <= 0 {
		return defaultDeadline
	}
	return min(time.Duration(s.DeadlineMs)*time.Millisecond, longestDeadline)
}

func (s *Spec) bodyLimit() int64 {
	if s.BodyLimit <= 0 {
		return defaultBodyLimit
	}
	return min(s.BodyLimit, mostBodyIncluded)
}

// request makes a fresh request with a trace of its own.
func (s *Spec) request(ctx context.Context) (*http.Request, error) {
	body, length, err := s.body()
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, s.Method, resolve(s.URL), body)
	if err != nil {
		return nil, err
	}
	if body != nil && !s.Chunked {
		request.ContentLength = length
	}
	for name, values := range s.Headers {
		if strings.EqualFold(name, "Host") && len(values) > 0 {
			request.Host = values[0]
			continue
		}
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	if !s.Untraced && request.Header.Get("Traceparent") == "" {
		request.Header.Set("Traceparent", trace.New())
	}
	return request, nil
}

func (s *Spec) body() (body io.Reader, length int64, err error) {
	switch {
	case s.BodySize > 0:
		return io.LimitReader(&filler{}, s.BodySize), s.BodySize, nil
	case s.BodyBase64 != "":
		decoded, err := base64.StdEncoding.DecodeString(s.BodyBase64)
		return hidden{bytes.NewReader(decoded)}, int64(len(decoded)), err
	case s.Body != "":
		return hidden{strings.NewReader(s.Body)}, int64(len(s.Body)), nil
	default:
		return nil, 0, nil
	}
}

// hidden keeps the client from making a second body out of a reader whose type it knows: a body is sent once.
type hidden struct{ io.Reader }

// filler is an endless fixed pattern.
type filler struct{ at int }

func (f *filler) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = "kl-test-filler\n"[f.at%15]
		f.at++
	}
	return len(p), nil
}

// client makes a client of its own for a run, so that runs share no connections.
func (s *Spec) client(concurrency int) (*http.Client, error) {
	config := &tls.Config{ServerName: s.ServerName, InsecureSkipVerify: s.Insecure}
	if s.CAPEM != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(s.CAPEM)) {
			return nil, errors.New("ca_pem holds no certificate")
		}
	}
	transport := &http.Transport{
		TLSClientConfig:       config,
		ForceAttemptHTTP2:     s.HTTP2,
		MaxIdleConnsPerHost:   concurrency,
		DisableKeepAlives:     s.OneConnectionEach,
		DisableCompression:    s.DisableCompression,
		ExpectContinueTimeout: 5 * time.Second,
	}
	if s.Dial != "" {
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Dial)
		}
	}
	client := &http.Client{Transport: transport}
	if !s.FollowRedirects {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return client, nil
}
