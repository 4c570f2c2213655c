package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"keylend.dev/e2e/peers/internal/lifecycle"
)

// What Jobs, init containers and tests on the node need of a shell, in images that have none.

// exitWith ends with the given code.
func exitWith(args []string) int {
	if len(args) != 1 {
		return misused
	}
	code, err := strconv.Atoi(args[0])
	if err != nil || code < 0 || code > 255 {
		return misused
	}
	return code
}

// sleepFor waits: "10s", "inf", or a number of seconds; SIGTERM ends it with success.
func sleepFor(args []string) int {
	if len(args) != 1 {
		return misused
	}
	ctx, cancel := lifecycle.Context()
	defer cancel()
	if args[0] == "inf" {
		<-ctx.Done()
		return 0
	}
	length, err := time.ParseDuration(args[0])
	if seconds, number := strconv.Atoi(args[0]); number == nil {
		length, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil {
		return complain(err, misused)
	}
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
	return 0
}

// waitURL waits until a URL answers below 400, or with the expected status.
func waitURL(args []string) int {
	set := flag.NewFlagSet("wait-url", flag.ContinueOnError)
	timeout := set.Duration("timeout", time.Minute, "how long to wait")
	expect := set.Int("expect", 0, "the status to wait for")
	url := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		url, args = args[0], args[1:]
	}
	if set.Parse(args) != nil || url == "" {
		return misused
	}
	url = os.Expand(url, func(name string) string {
		if name == "KEYLEND_URL" {
			return os.Getenv(name)
		}
		return "$" + name
	})
	ctx, cancel := lifecycle.Context()
	defer cancel()
	ctx, end := context.WithTimeout(ctx, *timeout)
	defer end()
	last := errors.New("not tried")
	for ctx.Err() == nil {
		if last = ask(ctx, url, *expect); last == nil {
			return 0
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return complain(fmt.Errorf("%s: %w", url, last), failed)
}

func ask(ctx context.Context, url string, expect int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == expect || expect == 0 && response.StatusCode < 400 {
		return nil
	}
	return errors.New(response.Status)
}

// hold keeps what it reads from standard input in memory until it is told to end: the positive control of mem-scan.
func hold([]string) int {
	ctx, cancel := lifecycle.Context()
	defer cancel()
	held, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	if err != nil {
		return complain(err, failed)
	}
	_ = lifecycle.Announce(map[string]any{"pid": os.Getpid(), "held": len(held)})
	<-ctx.Done()
	// Used after the wait, so that it stays until then.
	return min(0, len(held))
}
