// Package lifecycle starts and stops what runs long: it announces where it listens as one JSON line on standard
// output, ends on SIGTERM, and gives what is open a bounded time to finish.
package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// drain is how long open requests get after the signal.
const drain = 3 * time.Second

// Context ends with SIGTERM or SIGINT. As the first process of a container nothing else would act on them.
func Context() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}

// WithStandardInput ends when standard input does, so that a process started by a test ends with the test, even
// when that was killed.
func WithStandardInput(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ctx
}

// Announce prints where things listen, for the one who started this with port 0.
func Announce(facts map[string]any) error {
	return json.NewEncoder(os.Stdout).Encode(facts)
}

// A Service is something that serves until it is shut down.
type Service struct {
	// Serve blocks. http.ErrServerClosed counts as success.
	Serve func() error
	// Shutdown waits for what is open, at most until the context ends.
	Shutdown func(context.Context) error
	// Close ends what is still open.
	Close func() error
}

// HTTP makes a service of an HTTP server whose Serve is given, as it may be over TLS.
func HTTP(server *http.Server, serve func() error) Service {
	return Service{Serve: serve, Shutdown: server.Shutdown, Close: server.Close}
}

// Run serves all of them until ctx ends or one fails.
func Run(ctx context.Context, services ...Service) error {
	failed := make(chan error, len(services))
	for _, s := range services {
		go func() {
			if err := s.Serve(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	limit, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	for _, s := range services {
		if s.Shutdown(limit) != nil {
			_ = s.Close()
		}
	}
	return err
}
