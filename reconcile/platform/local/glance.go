package local

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cloakwork/cloakwork/schema"
)

// glanceTime is how long a data plane may take to answer a glance. What is slower than that gets a whole look.
const glanceTime = 500 * time.Millisecond

// Glance is what of a deployment's regions can be seen in a moment: whose data plane answers, and whose database runs. Where it
// says the same as before, nothing has become of them that a region would have to take over for.
func (d *Driver) Glance(ctx context.Context, want schema.Deployment) string {
	s := d.site(want.Name)
	ctx, cancel := context.WithTimeout(ctx, glanceTime)
	defer cancel()
	lines := make([]string, len(want.Regions))
	var all sync.WaitGroup
	for i, r := range want.Regions {
		all.Go(func() {
			seen, err := s.plane(r.Name).Look(ctx)
			if err != nil {
				lines[i] = r.Name + " silent"
				return
			}
			lines[i] = fmt.Sprint(r.Name, " gated ", seen.Told.Gated, " to ", seen.Told.Writer.Primary)
			for _, n := range seen.Nodes {
				if n.Name == databaseSlot {
					lines[i] += fmt.Sprint(" database ", n.Run, n.Alive)
				}
			}
		})
	}
	record, err := s.record()
	all.Wait()
	return fmt.Sprintln(record.Epoch, err, strings.Join(lines, "\n"))
}
