package pki

import (
	"crypto/tls"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"time"

	"keylend.dev/e2e/peers/internal/flags"
)

// A Source says where an origin's certificate comes from: from files, or from an authority in a directory.
type Source struct {
	certificate, key, authorityDir string
	names                          flags.List
	validity                       string
}

// SourceFrom adds the flags of a source.
func SourceFrom(set *flag.FlagSet) *Source {
	s := &Source{}
	set.StringVar(&s.certificate, "cert", "", "certificate chain file")
	set.StringVar(&s.key, "key", "", "key file")
	set.StringVar(&s.authorityDir, "self-signed-ca-dir", "", "issue a leaf from the CA in this directory, made if absent")
	set.Var(&s.names, "name", "name in that leaf; repeatable (default localhost and 127.0.0.1)")
	set.StringVar(&s.validity, "validity", string(Valid), "of that leaf: valid, expired, not-yet-valid")
	return s
}

// Load reads or issues the certificate; authority is empty for one that was read.
func (s *Source) Load(now time.Time) (authority []byte, leaf tls.Certificate, err error) {
	if s.authorityDir == "" {
		leaf, err = tls.LoadX509KeyPair(s.certificate, s.key)
		return nil, leaf, err
	}
	signer, err := LoadOrCreate(s.authorityDir)
	if err != nil {
		return nil, leaf, err
	}
	names := s.names
	if len(names) == 0 {
		names = flags.List{"localhost", "127.0.0.1"}
	}
	issued, err := signer.Issue(names, Validity(s.validity), now)
	if err != nil {
		return nil, leaf, err
	}
	leaf, err = tls.X509KeyPair(issued.Certificate, issued.Key)
	return signer.PEM, leaf, err
}

// Main runs the `certificates` applet: a CA and one leaf as files, for origins that mount them.
func Main(args []string) error {
	set := flag.NewFlagSet("certificates", flag.ContinueOnError)
	dir := set.String("dir", "", "where ca.pem, ca.key, cert.pem and key.pem go; an existing CA is used again")
	validity := set.String("validity", string(Valid), "valid, expired, not-yet-valid")
	var names flags.List
	set.Var(&names, "name", "DNS name or address; repeatable")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *dir == "" || len(names) == 0 {
		return errors.New("give --dir and at least one --name")
	}
	signer, err := LoadOrCreate(*dir)
	if err != nil {
		return err
	}
	leaf, err := signer.Issue(names, Validity(*validity), time.Now())
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(*dir, "cert.pem"), leaf.Certificate, 0o644),
		os.WriteFile(filepath.Join(*dir, "key.pem"), leaf.Key, 0o644))
}
