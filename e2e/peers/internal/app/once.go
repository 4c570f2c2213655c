package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"keylend.dev/e2e/peers/internal/lifecycle"
)

// How `call` ends, as exit codes.
const (
	Succeeded = 0
	NoAnswer  = 1
	Misused   = 2
	Refused   = 4 // by Keylend
	Otherwise = 5 // another status than one of success, or than the expected one
)

// headerFlag is a repeatable "Name: value".
type headerFlag map[string]Values

func (h headerFlag) String() string { return "" }

func (h headerFlag) Set(text string) error {
	name, value, found := strings.Cut(text, ":")
	if !found {
		return errors.New(`a header is "Name: value"`)
	}
	h[name] = append(h[name], strings.TrimSpace(value))
	return nil
}

type once struct {
	Spec
	expect   int
	retryFor time.Duration
	brief    bool
}

// Call runs the `call` applet: one call, shown as it came.
func Call(args []string) int {
	o, err := parseOnce(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return Misused
	}
	ctx, cancel := lifecycle.Context()
	defer cancel()
	client, err := o.client(1)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return Misused
	}
	until := time.Now().Add(o.retryFor)
	for {
		last := !time.Now().Before(until)
		code := o.show(ctx, client, last)
		if code == Succeeded || last || ctx.Err() != nil {
			return code
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func parseOnce(args []string) (*once, error) {
	o := &once{}
	o.Headers = map[string]Values{}
	set := flag.NewFlagSet("call", flag.ContinueOnError)
	for _, name := range []string{"X", "method"} {
		set.StringVar(&o.Method, name, "", "method (GET, or POST with data)")
	}
	for _, name := range []string{"H", "header"} {
		set.Var(headerFlag(o.Headers), name, `"Name: value"; repeatable`)
	}
	for _, name := range []string{"d", "data"} {
		set.StringVar(&o.Body, name, "", "body")
	}
	deadline := set.Duration("deadline", defaultDeadline, "how long it may take")
	set.IntVar(&o.expect, "expect", 0, "the status that counts as success (any below 400)")
	set.DurationVar(&o.retryFor, "retry-for", 0, "call again until it succeeds, so long; only the outcome is shown")
	set.BoolVar(&o.brief, "brief", false, "one line: the status, and the refusal's code if it was refused")
	set.BoolVar(&o.Insecure, "insecure", false, "do not verify TLS")
	set.StringVar(&o.Dial, "dial", "", "host:port to connect to, whatever the URL says")
	authority := set.String("cacert", "", "file of trust anchors")
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.URL, args = args[0], args[1:]
	}
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if o.URL == "" {
		o.URL = set.Arg(0)
	}
	if o.Method == "" && o.Body != "" {
		o.Method = http.MethodPost
	}
	if *authority != "" {
		anchors, err := os.ReadFile(*authority)
		if err != nil {
			return nil, err
		}
		o.CAPEM = string(anchors)
	}
	o.DeadlineMs = int(deadline.Milliseconds())
	return o, o.check()
}

// show makes the call and prints what came back as it comes. One that will be tried again is not shown.
func (o *once) show(ctx context.Context, client *http.Client, last bool) int {
	ctx, cancel := context.WithTimeout(ctx, o.deadline())
	defer cancel()
	request, err := o.request(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return Misused
	}
	response, err := client.Do(request)
	if err != nil {
		if last {
			fmt.Fprintln(os.Stderr, "no answer:", err)
		}
		return NoAnswer
	}
	defer response.Body.Close()
	code := o.judge(response)
	if code != Succeeded && !last {
		_, _ = io.Copy(io.Discard, response.Body)
		return code
	}
	if o.brief {
		fmt.Println(strings.TrimSpace(response.Status + "  " + response.Header.Get(refusalHeader)))
		return code
	}
	fmt.Printf("%s %s\n", response.Proto, response.Status)
	for _, name := range slices.Sorted(maps.Keys(response.Header)) {
		for _, value := range response.Header[name] {
			fmt.Printf("%s: %s\n", name, value)
		}
	}
	fmt.Println()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		fmt.Fprintln(os.Stderr, "\nthe answer was cut off:", err)
		return NoAnswer
	}
	return code
}

func (o *once) judge(response *http.Response) int {
	switch {
	case o.expect != 0 && response.StatusCode == o.expect:
		return Succeeded
	case response.Header.Get(refusalHeader) != "":
		return Refused
	case o.expect == 0 && response.StatusCode < 400:
		return Succeeded
	default:
		return Otherwise
	}
}
