FROM base AS one
COPY --from=lib --link /src /lib
FROM layout
COPY --from=one /lib /lib
COPY --from=alpine /etc/alpine-release /
RUN --mount=from=lib,target=/lib2 ls
