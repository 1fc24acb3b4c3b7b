package main

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// The status of a finding.
const (
	servedStatus    = "served"
	forbiddenStatus = "refused 403"
	unservedStatus  = "refused 404"
	// A key that begins with an underscore: the scan rejects all of them.
	reservedStatus = "refused 400"
	// Paddock knows it, and this release of Ollama does not have it.
	goneStatus = "gone"
	// Ollama has it, and Paddock does not know it.
	unknownStatus = "UNKNOWN"
	// This program cannot read it.
	unreadableStatus = "UNREADABLE"
)

// finding is one row of the report.
type finding struct {
	status, kind, what string
	// in are the requests or answers that have the field.
	in []string
	// at is the file and the line in Ollama's source.
	at string
}

// comparison is the result of comparing a release of Ollama with Paddock's tables.
type comparison struct {
	findings []finding
	// known is the number of fields that both have, by kind.
	known map[string]int
}

func compare(ollama *source, paddock tables) (*comparison, error) {
	result := &comparison{known: map[string]int{}}
	routes, err := result.compareRoutes(ollama, paddock)
	if err != nil {
		return nil, err
	}
	for _, endpoint := range paddock.Endpoints {
		if endpoint.Fields == nil {
			continue
		}
		if err := result.compareRequest(ollama, endpoint, findRoute(routes, endpoint) != nil); err != nil {
			return nil, err
		}
	}
	return result, result.compareCounts(ollama, paddock)
}

// hasUnknown returns whether a person must decide on a finding.
func (c *comparison) hasUnknown() bool {
	return slices.ContainsFunc(c.findings, func(found finding) bool { return found.needsDecision() })
}

func (f finding) needsDecision() bool {
	return f.status == unknownStatus || f.status == unreadableStatus
}

// add adds a finding, or its request to the same finding of another request.
func (c *comparison) add(added finding) {
	for i := range c.findings {
		known := &c.findings[i]
		if known.status == added.status && known.kind == added.kind && known.what == added.what && known.at == added.at {
			known.in = append(known.in, added.in...)
			return
		}
	}
	c.findings = append(c.findings, added)
}

func (c *comparison) compareRoutes(ollama *source, paddock tables) ([]route, error) {
	routes, unread, err := ollama.routes()
	if err != nil {
		return nil, err
	}
	for _, found := range unread {
		c.add(found)
	}
	for _, route := range routes {
		c.add(finding{status: statusOf(route, paddock), kind: "route", what: route.String(), at: route.at})
	}
	for _, endpoint := range paddock.Endpoints {
		if findRoute(routes, endpoint) == nil {
			c.add(finding{status: goneStatus, kind: "route", what: endpoint.String()})
		}
	}
	for _, closed := range slices.Concat(paddock.Forbidden, paddock.Unserved) {
		if !slices.ContainsFunc(routes, func(route route) bool { return isBelow(route.path, closed) }) {
			c.add(finding{status: goneStatus, kind: "route", what: closed + " (refused)"})
		}
	}
	return routes, nil
}

// statusOf returns what Paddock does with a route of Ollama.
func statusOf(route route, paddock tables) string {
	isServed := func(endpoint endpoint) bool {
		return isSamePath(endpoint.Path, route.path) &&
			(endpoint.Method == route.method || endpoint.Method == "GET" && route.method == "HEAD")
	}
	below := func(closed string) bool { return isBelow(route.path, closed) }
	switch {
	case slices.ContainsFunc(paddock.Endpoints, isServed):
		return servedStatus
	case slices.ContainsFunc(paddock.Forbidden, below):
		return forbiddenStatus
	case slices.ContainsFunc(paddock.Unserved, below):
		return unservedStatus
	}
	return unknownStatus
}

// isBelow returns whether a path is `parent`, or has it as a prefix of whole segments.
func isBelow(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '/')
}

func findRoute(routes []route, endpoint endpoint) *route {
	for i, route := range routes {
		if isSamePath(route.path, endpoint.Path) && (route.method == endpoint.Method || route.method == anyMethod) {
			return &routes[i]
		}
	}
	return nil
}

// compareRequest compares the fields of the request of an endpoint. `hasRoute`: Ollama has its
// route.
func (c *comparison) compareRequest(ollama *source, endpoint endpoint, hasRoute bool) error {
	request, ok := requests[endpoint.Path]
	if !ok {
		c.add(finding{status: unreadableStatus, kind: "request", what: endpoint.String() + " (not in tests/drift/structs.go)"})
		return nil
	}
	if err := c.compareFields(ollama, request, "", endpoint.Fields.TopLevel, endpoint.String()); err != nil {
		var missing missingError
		if !errors.As(err, &missing) {
			return err
		}
		if hasRoute {
			c.add(finding{status: unreadableStatus, kind: "request", what: "struct " + request.String(), in: []string{endpoint.String()}})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(endpoint.Fields.Nested)) {
		nested, ok := nestedRequests[key]
		if !ok {
			c.add(finding{status: unreadableStatus, kind: "request", what: "the object " + key + " (not in tests/drift/structs.go)", in: []string{endpoint.String()}})
			continue
		}
		if err := c.compareFields(ollama, nested, key+".", endpoint.Fields.Nested[key], endpoint.String()); err != nil {
			return err
		}
	}
	return nil
}

// compareFields compares the fields of a struct with those that Paddock knows. `prefix` stands
// before their names in the report.
func (c *comparison) compareFields(ollama *source, name structName, prefix string, known []string, in string) error {
	fields, err := ollama.fields(name)
	if err != nil {
		return err
	}
	if ollama.hasDecoder(name) {
		c.add(finding{status: unreadableStatus, kind: "request", what: name.String() + ".UnmarshalJSON", in: []string{in}})
	}
	for _, field := range fields {
		found := finding{kind: "field", what: prefix + field.name, in: []string{in}, at: field.at}
		switch {
		case slices.Contains(known, field.name):
			c.known[found.kind]++
			continue
		case strings.HasPrefix(field.name, "_"):
			found.status = reservedStatus
		default:
			found.status = unknownStatus
		}
		c.add(found)
	}
	for _, name := range known {
		if !hasField(fields, name) {
			c.add(finding{status: goneStatus, kind: "field", what: prefix + name, in: []string{in}})
		}
	}
	return nil
}

// compareCounts compares the token counts of answers with those that Paddock knows.
func (c *comparison) compareCounts(ollama *source, paddock tables) error {
	known := slices.Concat(paddock.Metered, paddock.Unmetered)
	var all []field
	for _, answer := range answers {
		fields, err := ollama.fieldsBelow(answer.structName)
		var missing missingError
		if errors.As(err, &missing) {
			c.add(finding{status: unreadableStatus, kind: "count", what: "struct " + answer.String()})
			continue
		}
		if err != nil {
			return err
		}
		for _, field := range fields {
			switch {
			case slices.Contains(answer.content, field.name):
			case slices.Contains(known, field.name):
				c.known["count"]++
			default:
				c.add(finding{status: unknownStatus, kind: "count", what: field.name, in: []string{answer.String()}, at: field.at})
			}
		}
		all = append(all, fields...)
	}
	for _, name := range known {
		if !hasField(all, name) {
			c.add(finding{status: goneStatus, kind: "count", what: name})
		}
	}
	return nil
}

func hasField(fields []field, name string) bool {
	return slices.ContainsFunc(fields, func(field field) bool { return field.name == name })
}
