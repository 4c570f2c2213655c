package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// page is how many keys are asked for at once: objects may be a megabyte, an answer may not be much more.
const page = 100

// DumpEtcd writes every key and value as etcd keeps them, each on lines of its own, all of one moment. The caller
// must be inside the cluster's network.
func (c Cluster) DumpEtcd(ctx context.Context, output io.Writer) error {
	client, err := c.etcdClient()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	var moment int64
	for key := "\x00"; ; {
		answer, err := client.Get(ctx, key, clientv3.WithFromKey(), clientv3.WithLimit(page), clientv3.WithRev(moment))
		if err != nil {
			return fmt.Errorf("reading etcd: %w", err)
		}
		moment = answer.Header.Revision
		for _, entry := range answer.Kvs {
			if _, err := fmt.Fprintf(output, "%s\n%s\n", entry.Key, entry.Value); err != nil {
				return fmt.Errorf("writing dump: %w", err)
			}
			key = string(entry.Key) + "\x00"
		}
		if !answer.More {
			return nil
		}
	}
}

func (c Cluster) etcdClient() (*clientv3.Client, error) {
	paths := c.Paths()
	certificate, err := tls.LoadX509KeyPair(paths.EtcdCertificate, paths.EtcdKey)
	if err != nil {
		return nil, fmt.Errorf("reading etcd's client certificate: %w", err)
	}
	authority, err := os.ReadFile(paths.EtcdCA)
	if err != nil {
		return nil, fmt.Errorf("reading etcd's CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client, err := clientv3.New(clientv3.Config{
		Endpoints:          []string{paths.EtcdEndpoint},
		DialTimeout:        5 * time.Second,
		TLS:                &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots},
		MaxCallRecvMsgSize: 256 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to etcd: %w", err)
	}
	return client, nil
}
