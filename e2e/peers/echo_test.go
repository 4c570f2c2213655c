package main

// The echo: the credential in every spelling, in every place, in pieces of every size.

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"keylend.dev/e2e/peers/internal/origin"
	"keylend.dev/e2e/peers/internal/spelling"
)

func TestTheCredentialComesBackInEverySpellingFromEveryPlace(t *testing.T) {
	p := startPeers(t, "upstream")
	for _, query := range []string{
		"", "split=1", "at=7", "length=known", "length=known&split=1", "by=hand", "by=hand&split=1&length=known",
		"in=reason", "in=reason,headers,body,trailers&split=1",
	} {
		results, _ := p.run(t, map[string]any{
			"url": "/echo-encoded?" + query, "headers": map[string]any{"Authorization": "Bearer " + credential},
			"include_body": true, "include_headers": true,
		})
		got := results[0]
		decoded, _ := base64.StdEncoding.DecodeString(got.BodyBase64)
		headers, trailers := flat(got.Headers), flat(got.Trailers)
		for _, s := range spelling.All() {
			seen := string(s.Seen([]byte(credential)))
			places := map[string]string{"body": got.Body + string(decoded), "reason": got.Reason, "headers": headers, "trailers": trailers}
			for place, text := range places {
				if wanted := belongs(query, place, s); strings.Contains(text, seen) != wanted && s.Name != "html-minimal" {
					t.Errorf("%q: %s in %s: %t, wanted %t (%s)", query, s.Name, place, !wanted, wanted, got.Error)
				}
			}
		}
	}
	hits := get[[]origin.Hit](t, p.control+"/hits")
	if hits[0].Echoed < 60 {
		t.Errorf("echoed %d", hits[0].Echoed)
	}
}

func TestAnAnswerIsCutIntoPiecesWhereItIsAsked(t *testing.T) {
	p := startPeers(t, "upstream")
	whole := len(pieces(t, p, "by=hand&length=known&enc=raw")[0])
	for _, c := range []struct {
		query string
		sizes func(sizes []int) bool
	}{
		{"by=hand&length=known&enc=raw&split=1", func(sizes []int) bool { return len(sizes) == whole }},
		{"by=hand&length=known&enc=raw&at=40", func(sizes []int) bool { return slices.Equal(sizes, []int{40, whole - 40}) }},
		{"length=known&enc=raw&in=body&at=9", func(sizes []int) bool { return len(sizes) == 3 && sizes[1] == 9 }},
	} {
		var sizes []int
		for _, piece := range pieces(t, p, c.query) {
			sizes = append(sizes, len(piece))
		}
		if !c.sizes(sizes) {
			t.Errorf("%s: %v of %d", c.query, sizes, whole)
		}
	}
}

// pieces gives the TLS records of the answer.
func pieces(t *testing.T, p peers, query string) [][]byte {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /echo-encoded?%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: %s\r\n\r\n", query, credential)
	var all [][]byte
	for {
		buffer := make([]byte, 64<<10)
		n, err := conn.Read(buffer)
		if n > 0 {
			all = append(all, buffer[:n])
		}
		if err != nil {
			return all
		}
	}
}

func belongs(query, place string, s spelling.Spelling) bool {
	listed := "headers,body,trailers"
	if _, in, has := strings.Cut(query, "in="); has {
		listed, _, _ = strings.Cut(in, "&")
	}
	switch {
	case !strings.Contains(","+listed+",", ","+place+","):
		return false
	case place == "trailers" && strings.Contains(query, "length=known"):
		return false
	default:
		return place == "body" || s.Place == spelling.Anywhere
	}
}

func flat(header http.Header) string {
	var out strings.Builder
	_ = header.Write(&out)
	return out.String()
}
