package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// The thief: somebody with a token that is not theirs, and strangers who only hold connections open.

const (
	http2Preface      = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	settingsFrame     = 4
	maxStreamsSetting = 3
)

// enrol presents the token on standard input with a key of its own, and prints the operator's answer.
func enrol(args []string) error {
	set := flag.NewFlagSet("enrol", flag.ContinueOnError)
	if err := set.Parse(args); err != nil {
		return err
	}
	token, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	if err != nil {
		return fmt.Errorf("reading the token: %w", err)
	}
	message, err := enrolment(strings.TrimSpace(string(token)))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+set.Arg(0)+"/v1/enrol", bytes.NewReader(message))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("enrolling: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the operator answered with status %d", response.StatusCode)
	}
	answer, err = lifted(response.TLS, answer)
	if err != nil {
		return fmt.Errorf("lifting the veil: %w", err)
	}
	if len(answer) < 4 || uint64(len(answer)-4) < uint64(binary.BigEndian.Uint32(answer)) {
		return errors.New("the answer is cut short")
	}
	fmt.Println(string(answer[4 : 4+binary.BigEndian.Uint32(answer)]))
	return nil
}

// lifted opens an answer that is encrypted once more within TLS: ciphertext and tag, then the nonce.
func lifted(connection *tls.ConnectionState, answer []byte) ([]byte, error) {
	key, err := connection.ExportKeyingMaterial("EXPORTER-keylend-veil", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("exporting its key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("making the cipher: %w", err)
	}
	sealed, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("making the mode: %w", err)
	}
	end := len(answer) - sealed.NonceSize()
	if end < 0 {
		return nil, errors.New("too short")
	}
	return sealed.Open(nil, answer[end:], answer[:end], nil)
}

// enrolment is what a sidecar sends: a length, JSON, and no values.
func enrolment(token string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("writing a key: %w", err)
	}
	statement := binary.BigEndian.AppendUint64([]byte("keylend enrolment v1\x00"), uint64(len(public)))
	statement = append(append(statement, public...), token...)
	digest := sha256.Sum256(statement)
	proof, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	body, err := json.Marshal(map[string]any{
		"version": 1, "token": token,
		"publicKey": base64.StdEncoding.EncodeToString(public), "proof": base64.StdEncoding.EncodeToString(proof),
	})
	if err != nil {
		return nil, fmt.Errorf("writing a message: %w", err)
	}
	message := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	return append(message, 0, 0), nil
}

// idle opens an HTTP/2 connection without a certificate, asks for nothing, and tells how long it was left open and how
// many streams it might have had.
func idle(args []string) error {
	if len(args) != 1 {
		return errors.New("say HOST:PORT")
	}
	connection, err := tls.Dial("tcp", args[0], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = connection.Close() }()
	began := time.Now()
	_ = connection.SetDeadline(began.Add(time.Minute))
	if _, err := connection.Write([]byte(http2Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return fmt.Errorf("beginning HTTP/2: %w", err)
	}
	streams := uint32(0)
	for {
		header := make([]byte, 9)
		if _, err := io.ReadFull(connection, header); err != nil {
			break
		}
		payload := make([]byte, uint32(header[0])<<16|uint32(header[1])<<8|uint32(header[2]))
		if _, err := io.ReadFull(connection, payload); err != nil {
			break
		}
		for header[3] == settingsFrame && len(payload) >= 6 {
			if binary.BigEndian.Uint16(payload) == maxStreamsSetting {
				streams = binary.BigEndian.Uint32(payload[2:])
			}
			payload = payload[6:]
		}
	}
	fmt.Printf("{\"open_for_ms\":%d,\"streams\":%d}\n", time.Since(began).Milliseconds(), streams)
	return nil
}
