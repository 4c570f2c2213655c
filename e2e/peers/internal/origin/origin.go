// Package origin is the HTTPS origin of the tests: Go's own server, with a behaviour for each path and a record of
// every head that arrived. What it saw is read over a listener of its own, outside the tested path.
// It never logs or keeps a credential: hits hold digests.
package origin

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"keylend.dev/e2e/peers/internal/flags"
	"keylend.dev/e2e/peers/internal/lifecycle"
	"keylend.dev/e2e/peers/internal/pki"
)

// Origin answers and records.
type Origin struct {
	log         *Log
	connections *Connections
	authority   []byte
}

type config struct {
	listen, plain  flags.List
	control        string
	identity       *pki.Source
	tlsMin, tlsMax string
	noHTTP2        bool
	idle           time.Duration
	expect         string
	endsWithStdin  bool
}

// Main runs the `upstream` applet.
func Main(args []string) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	ctx, cancel := lifecycle.Context()
	defer cancel()
	if c.endsWithStdin {
		ctx = lifecycle.WithStandardInput(ctx)
	}
	return c.run(ctx)
}

func parse(args []string) (*config, error) {
	c := &config{}
	set := flag.NewFlagSet("upstream", flag.ContinueOnError)
	set.Var(&c.listen, "listen", "address of an HTTPS listener; repeatable (default :443)")
	set.Var(&c.plain, "plain-listen", "address of a listener without TLS; repeatable")
	set.StringVar(&c.control, "control", ":8081", "address of the control listener")
	c.identity = pki.SourceFrom(set)
	set.StringVar(&c.tlsMin, "tls-min", "1.2", "lowest TLS version")
	set.StringVar(&c.tlsMax, "tls-max", "1.3", "highest TLS version")
	set.BoolVar(&c.noHTTP2, "no-http2", false, "do not offer HTTP/2")
	set.DurationVar(&c.idle, "idle", 5*time.Minute, "how long an idle connection is kept")
	set.StringVar(&c.expect, "expect-sha256", "", "digest of the expected Authorization value, at start")
	set.BoolVar(&c.endsWithStdin, "ends-with-stdin", false, "end when standard input does")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if len(c.listen) == 0 {
		c.listen = flags.List{":443"}
	}
	return c, nil
}

func (c *config) run(ctx context.Context) error {
	authority, certificate, err := c.identity.Load(time.Now())
	if err != nil {
		return err
	}
	versions := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	tlsConfig := &tls.Config{
		Certificates:       []tls.Certificate{certificate},
		MinVersion:         versions[c.tlsMin],
		MaxVersion:         versions[c.tlsMax],
		GetConfigForClient: noteName,
	}
	if tlsConfig.MinVersion == 0 || tlsConfig.MaxVersion == 0 {
		return errors.New("a TLS version is 1.2 or 1.3")
	}
	o := &Origin{log: newLog(), connections: &Connections{}, authority: authority}
	o.log.expect(Expectation{Header: "Authorization", Sha256: c.expect})

	var services []lifecycle.Service
	listening, plain := []string{}, []string{}
	for _, address := range c.listen {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		listening = append(listening, listener.Addr().String())
		server := o.server(c)
		server.TLSConfig = tlsConfig.Clone()
		services = append(services, lifecycle.HTTP(server, func() error {
			return server.ServeTLS(o.connections.track(listener), "", "")
		}))
	}
	for _, address := range c.plain {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		plain = append(plain, listener.Addr().String())
		server := o.server(c)
		services = append(services, lifecycle.HTTP(server, func() error {
			return server.Serve(o.connections.track(listener))
		}))
	}
	control, err := net.Listen("tcp", c.control)
	if err != nil {
		return err
	}
	controlServer := &http.Server{Handler: o.controlHandler(), ReadHeaderTimeout: 10 * time.Second}
	services = append(services, lifecycle.HTTP(controlServer, func() error { return controlServer.Serve(control) }))
	err = lifecycle.Announce(map[string]any{
		"listening": listening, "plain": plain, "control": control.Addr().String(), "ca": string(authority),
	})
	if err != nil {
		return err
	}
	return lifecycle.Run(ctx, services...)
}

func (o *Origin) server(c *config) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(!c.noHTTP2)
	return &http.Server{
		Handler:           o,
		ConnContext:       remember,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       c.idle,
		MaxHeaderBytes:    1 << 20,
		Protocols:         protocols,
		// Go's server reports odd clients by their bytes; what arrives here may hold a credential.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}
