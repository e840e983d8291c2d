"""Branch deployments: mirrors of production for one change, made and removed by ./stack branch."""
