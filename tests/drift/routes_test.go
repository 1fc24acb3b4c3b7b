package main

import (
	"slices"
	"testing"
)

const proxyPackage = "package proxy\n\nconst Prefix = root + \"/desk\"\n\nconst root = \"/api\"\n"

func routesOf(t *testing.T, body string) (routes []string, unread int) {
	t.Helper()
	found, unreadable, err := sourceOf(t, map[string]string{
		"internal/proxy/proxy.go": proxyPackage,
		"server/routes.go": `package server

import (
	"log/slog"
	"net/http"

	"github.com/ollama/ollama/internal/proxy"
)

const chat = "/api/chat"

func register(r *gin.Engine, variable string) {
	` + body + `
}
`,
		"server/routes_test.go": "package server\n\nfunc test() { r.GET(\"/test\", nil) }\n",
	}).routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range found {
		routes = append(routes, route.String())
	}
	return routes, len(unreadable)
}

func TestRoutesAreReadInEveryFormOfTheirPath(t *testing.T) {
	for body, want := range map[string]string{
		`r.GET("/api/tags", h)`:                            "GET /api/tags",
		`r.POST(chat, first, second)`:                      "POST /api/chat",
		`r.Any(proxy.Prefix+"/*path", h)`:                  "ANY /api/desk/{path}",
		`r.GET(("/v1" + "/models/:model"), h)`:             "GET /v1/models/{model}",
		`r.Handle(http.MethodPatch, "/api/user/:id/x", h)`: "PATCH /api/user/{id}/x",
		`r.Handle("PUT", "/api/x", h)`:                     "PUT /api/x",
	} {
		routes, unread := routesOf(t, body)
		if !slices.Equal(routes, []string{want}) || unread != 0 {
			t.Errorf("%s: %q and %d unread; want %q", body, routes, unread, want)
		}
	}
}

func TestCallsThatRegisterNothingAreNoRoutes(t *testing.T) {
	routes, unread := routesOf(t, `
	slog.Info("x", slog.Any("/api/log", variable), slog.Group("/api/group"))
	http.Handle("/", r)
	r.Use(cors)
	header.GET()
	r.HEAD("/", h)`)
	if !slices.Equal(routes, []string{"HEAD /"}) || unread != 0 {
		t.Errorf("%q and %d unread", routes, unread)
	}
}

func TestRegistrationsThatCannotBeReadAreReported(t *testing.T) {
	for _, body := range []string{
		`r.GET(variable, h)`,
		`r.POST(proxy.Unknown, h)`,
		`r.Handle(variable, "/api/x", h)`,
		`g := r.Group("/api")`,
		`r.NoRoute(h)`,
	} {
		if _, unread := routesOf(t, "r.GET(\"/\", h)\n\t"+body); unread != 1 {
			t.Errorf("%s: %d unread; want 1", body, unread)
		}
	}
}

func TestPlaceOfARouteIsThatOfThePublicRouter(t *testing.T) {
	routes, _, err := sourceOf(t, map[string]string{
		"server/compact.go": "package server\n\nfunc inner() { router.POST(\"/v1/responses\", h) }\n",
		"server/routes.go":  "package server\n\n\nfunc outer() { r.POST(\"/v1/responses\", h) }\n",
	}).routes()
	if err != nil {
		t.Fatal(err)
	}
	if len(routes) != 1 || routes[0].at != "server/routes.go:4" {
		t.Errorf("%+v", routes)
	}
}

func TestSourceWithoutRoutesIsAnError(t *testing.T) {
	if _, _, err := sourceOf(t, map[string]string{"server/routes.go": "package server\n"}).routes(); err == nil {
		t.Error("no error")
	}
}
