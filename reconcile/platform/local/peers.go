package local

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/cloakwork/cloakwork/schema"
)

// Regions reach each other's databases by way of their data planes, which know each other by certificates of an authority
// that each deployment has for nothing else.

// peerLife is how long the certificates are valid. They stand beside the keys of the authority, and end with the deployment.
const peerLife = 20 * 365 * 24 * time.Hour

// peers are the addresses at which the data planes of the declared regions listen for each other; none where there is one
// region. They are chosen once.
func (s site) peers(want schema.Deployment) (map[string]string, error) {
	if !managed(want) || len(want.Regions) < 2 {
		return nil, nil
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	known, peers, chosen := map[string]string{}, map[string]string{}, false
	if _, err := s.read(&known, "peers", "addresses.json"); err != nil {
		return nil, err
	}
	for _, r := range want.Regions {
		host := inside(want, r.Name)
		if at, _, err := net.SplitHostPort(known[r.Name]); err != nil || at != host {
			port, err := s.freePorts(host, 1)
			if err != nil {
				return nil, err
			}
			known[r.Name], chosen = net.JoinHostPort(host, strconv.Itoa(port)), true
		}
		peers[r.Name] = known[r.Name]
	}
	if !chosen {
		return peers, nil
	}
	return peers, s.write(known, "peers", "addresses.json")
}

// certify gives a region's data plane what it shows to the others, where it has none.
func (s site) certify(region string) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	authority, err := s.authority()
	if err != nil {
		return fmt.Errorf("the authority of the regions' certificates: %w", err)
	}
	tlsDir := []string{"regions", region, "plane", "tls"}
	file := func(name string) []string { return append(tlsDir[:len(tlsDir):len(tlsDir)], name) }
	if pair, err := tls.LoadX509KeyPair(s.path(file("peer.crt")...), s.path(file("peer.key")...)); err == nil && pair.Leaf.CheckSignatureFrom(authority.Leaf) == nil {
		return s.keepFile(pemOf("CERTIFICATE", authority.Leaf.Raw), true, file("peer-ca.crt")...)
	}
	cert, key, err := issue(&x509.Certificate{DNSNames: []string{region}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, &authority)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"peer-ca.crt": pemOf("CERTIFICATE", authority.Leaf.Raw), "peer.key": key, "peer.crt": cert} {
		if err := s.keepFile(content, true, file(name)...); err != nil {
			return err
		}
	}
	return nil
}

// authority is the deployment's, which is made where there is none: key and certificate in one file, so that there is never half.
func (s site) authority() (tls.Certificate, error) {
	const name = "authority.pem"
	if _, err := os.Stat(s.path("peers", name)); err != nil {
		cert, key, err := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "regions of " + s.name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
		if err != nil {
			return tls.Certificate{}, err
		}
		if err := s.keepFile(append(cert, key...), true, "peers", name); err != nil {
			return tls.Certificate{}, err
		}
	}
	return tls.LoadX509KeyPair(s.path("peers", name), s.path("peers", name))
}

// issue makes a certificate and its key, signed by an authority, or by itself.
func issue(c *x509.Certificate, by *tls.Certificate) (cert, secret []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = serial, time.Now().Add(-time.Hour), time.Now().Add(peerLife)
	parent, signer := c, any(key)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, err
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", text), err
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
