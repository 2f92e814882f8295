package local

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// nobodyID is who nobody is, where no user is called so.
const nobodyID = 65534

// runner is who nodes run as, which is never root; nil where it is we.
func runner(name string) (uid, gid *uint32, err error) {
	if os.Getuid() != 0 {
		if u, err := user.Lookup(name); name != "" && (err != nil || u.Uid != strconv.Itoa(os.Getuid())) {
			return nil, nil, fmt.Errorf("only root can run nodes as %s", name)
		}
		return nil, nil, nil
	}
	names := []string{"keycloak", "nobody"}
	if name != "" {
		names = []string{name}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		id, err := strconv.ParseUint(u.Uid, 10, 32)
		group, wrong := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err, wrong); err != nil {
			return nil, nil, err
		}
		if id == 0 {
			return nil, nil, errors.New("nodes don't run as root")
		}
		uid, gid := uint32(id), uint32(group)
		return &uid, &gid, nil
	}
	if name != "" {
		return nil, nil, fmt.Errorf("there is no user %s", name)
	}
	id := uint32(nobodyID)
	return &id, &id, nil
}
