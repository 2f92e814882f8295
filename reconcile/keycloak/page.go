package keycloak

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
)

// All reads a list in pages of size (0: 100) until one comes back short, and gives its elements in order. Lists that
// know no paging are read as well. Each page is a request of its own: what is created or removed meanwhile may show
// twice, or push another element out of sight.
//
// It must not be used where max doesn't count the elements, as in a search of groups with populateHierarchy.
func (c *Client) All(ctx context.Context, path string, query url.Values, size int) ([]json.RawMessage, error) {
	if size <= 0 {
		size = 100
	}
	var all []json.RawMessage
	seen := map[string]bool{}
	for {
		page, err := c.page(ctx, path, query, len(all), size)
		if err != nil {
			return nil, err
		}
		news := false
		for _, element := range page {
			key := identity(element)
			news = news || !seen[key]
			seen[key] = true
		}
		switch {
		case len(page) < size, len(page) > size && len(all) == 0: // the last one, or all at once in spite of max
			return append(all, page...), nil
		case !news: // first is ignored: this is the same page again, and may be all there is or not
			return c.page(ctx, path, query, 0, 0)
		}
		all = append(all, page...)
	}
}

func (c *Client) page(ctx context.Context, path string, query url.Values, first, size int) ([]json.RawMessage, error) {
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	if size > 0 {
		q.Set("first", strconv.Itoa(first))
		q.Set("max", strconv.Itoa(size))
	}
	var page []json.RawMessage
	err := c.Get(ctx, path, q, &page)
	return page, err
}

// identity tells elements of a list apart: by id where they have one, for the order inside an element may change from
// one read to the next.
func identity(element json.RawMessage) string {
	var named struct{ ID string }
	if json.Unmarshal(element, &named) == nil && named.ID != "" {
		return named.ID
	}
	return string(element)
}
