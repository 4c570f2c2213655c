// Package pki makes the certificate authority of a test and the leaves that origins show, good and bad ones.
// Nothing of it is trusted by anyone but who is given its `ca.pem`.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// An Authority signs leaves.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// PEM is the certificate, as a share's caBundle takes it.
	PEM []byte
}

// A Leaf is a certificate and its key, as PEM.
type Leaf struct{ Certificate, Key []byte }

// A Validity says when a leaf is valid, seen from now.
type Validity string

// The validities that can be asked for.
const (
	Valid       Validity = "valid"
	Expired     Validity = "expired"
	NotYetValid Validity = "not-yet-valid"
)

// LoadOrCreate reads `ca.pem` and `ca.key` of dir, or makes and writes them, so that several origins share one CA.
func LoadOrCreate(dir string) (*Authority, error) {
	certificate, certErr := os.ReadFile(filepath.Join(dir, "ca.pem"))
	key, keyErr := os.ReadFile(filepath.Join(dir, "ca.key"))
	if certErr == nil && keyErr == nil {
		return load(certificate, key)
	}
	if !errors.Is(certErr, fs.ErrNotExist) || !errors.Is(keyErr, fs.ErrNotExist) {
		return nil, fmt.Errorf("the authority in %s is incomplete: %w", dir, errors.Join(certErr, keyErr))
	}
	authority, err := Create(time.Now())
	if err != nil {
		return nil, err
	}
	encodedKey, err := encodeKey(authority.key)
	if err != nil {
		return nil, err
	}
	return authority, errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "ca.key"), encodedKey, 0o600),
		os.WriteFile(filepath.Join(dir, "ca.pem"), authority.PEM, 0o644))
}

func load(certificatePEM, keyPEM []byte) (*Authority, error) {
	certificateBlock, _ := pem.Decode(certificatePEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certificateBlock == nil || keyBlock == nil {
		return nil, errors.New("the authority's files hold no PEM")
	}
	certificate, err := x509.ParseCertificate(certificateBlock.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the authority's key is not ECDSA")
	}
	return &Authority{certificate, signer, certificatePEM}, nil
}

// Create makes an authority, valid for ten years.
func Create(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Keylend test authority"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// Issue makes a leaf for the given DNS names and addresses.
func (a *Authority) Issue(names []string, validity Validity, now time.Time) (Leaf, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Leaf{}, err
	}
	from, to, err := validity.window(now)
	if err != nil {
		return Leaf{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "Keylend test origin"},
		NotBefore:    from,
		NotAfter:     to,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return Leaf{}, err
	}
	encodedKey, err := encodeKey(key)
	return Leaf{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), encodedKey}, err
}

func (v Validity) window(now time.Time) (from, to time.Time, err error) {
	switch v {
	case Valid:
		return now.Add(-time.Hour), now.AddDate(1, 0, 0), nil
	case Expired:
		return now.Add(-48 * time.Hour), now.Add(-time.Hour), nil
	case NotYetValid:
		return now.Add(time.Hour), now.Add(48 * time.Hour), nil
	default:
		return from, to, fmt.Errorf("unknown validity %q", v)
	}
}

// serial is random and positive. Reading from the system's source does not fail.
func serial() *big.Int {
	var bytes [16]byte
	_, _ = rand.Read(bytes[:])
	bytes[0] &= 0x7f
	return new(big.Int).SetBytes(bytes[:])
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
