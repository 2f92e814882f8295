package local

import (
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
)

// The ports of a node, after its first one.
const (
	managementPort = 1 + iota
	clusterPort
	alivePort // by which the others see that it is there
	nodePorts
)

// Below those that the system gives to outgoing connections, so that none takes one while its node is down.
const firstPort, lastPort = 20000, 32000

// freePorts finds some in a row at which nobody listens, and which no node of ours has.
func (d *Driver) freePorts(host string, count int) (int, error) {
	taken := map[int]bool{}
	sites, err := filepath.Glob(filepath.Join(d.dir, "*", "slots"))
	if err != nil {
		return 0, err
	}
	for _, dir := range sites {
		slots, err := d.site(filepath.Base(filepath.Dir(dir))).slots()
		if err != nil {
			return 0, err
		}
		for _, l := range slots {
			for i := range nodePorts {
				taken[l.Port+i] = true
			}
		}
	}
search:
	for range 1000 {
		first := firstPort + rand.N(lastPort-firstPort-count)
		for i := range count {
			if taken[first+i] {
				continue search
			}
		}
		if listenable(host, first, count) == nil {
			return first, nil
		}
	}
	return 0, fmt.Errorf("find %d free ports in a row on %s, between %d and %d: there are none", count, host, firstPort, lastPort)
}

// listenable tells why nobody could listen at some ports in a row.
func listenable(host string, first, count int) error {
	for i := range count {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(first+i)))
		if err != nil {
			return err
		}
		l.Close()
	}
	return nil
}
