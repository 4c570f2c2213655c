package bare

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// made is what both programs find when they start.
type made struct {
	folder string
	token  string
	// Addresses on loopback.
	etcd, server string
}

func prepare(folder string) (made, error) {
	m := made{folder: folder, token: rand.Text()}
	if err := freeAddresses(&m.etcd, &m.server); err != nil {
		return made{}, err
	}
	signing, err := signingKey()
	if err != nil {
		return made{}, err
	}
	for name, text := range map[string][]byte{
		"tokens": []byte(m.token + ",test,test,system:masters\n"),
		"sa.key": signing,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			return made{}, fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return m, nil
}

// commands are both command lines, each beginning with the program's name. A pod needs no service account to be there,
// and a policy that is there binds nobody: tests put both where they want them.
func (m made) commands() [][]string {
	key := filepath.Join(m.folder, "sa.key")
	return [][]string{
		{
			"etcd", "--data-dir=" + filepath.Join(m.folder, "etcd"), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
			"--listen-client-urls=http://" + m.etcd, "--advertise-client-urls=http://" + m.etcd,
			"--listen-peer-urls=http://127.0.0.1:0",
		},
		{
			"kube-apiserver", "--etcd-servers=http://" + m.etcd, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
			"--secure-port=" + port(m.server), "--cert-dir=" + m.certificates(), "--token-auth-file=" + filepath.Join(m.folder, "tokens"),
			"--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount,ValidatingAdmissionPolicy",
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
			"--service-cluster-ip-range=10.96.0.0/24",
		},
	}
}

// certificates is where the API server puts the certificate that it makes for itself.
func (m made) certificates() string { return filepath.Join(m.folder, "certificates") }

func (m made) facts() (Facts, error) {
	authority, err := os.ReadFile(filepath.Join(m.certificates(), "apiserver.crt"))
	if err != nil {
		return Facts{}, fmt.Errorf("reading the API server's certificate: %w", err)
	}
	return Facts{Server: "https://" + m.server, CA: string(authority), Token: m.token, Etcd: "http://" + m.etcd}, nil
}

// freeAddresses finds different ones on loopback that nothing listened on a moment ago.
func freeAddresses(found ...*string) error {
	for _, address := range found {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("finding a free port: %w", err)
		}
		defer func() { _ = listener.Close() }()
		*address = listener.Addr().String()
	}
	return nil
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func signingKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}), nil
}
